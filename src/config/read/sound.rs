//! Finds the parts of a value that are sound although others are not, so that mistakes in their meaning are reported
//! in the same run.

use std::path::Path as FilePath;

use serde::Deserialize;
use serde_json::Value;

use super::{find, meaning};
use crate::config::error::{Path, Problems, Segment};
use crate::config::types::{Config, Provider};

/// The mistakes in the meaning of what is left when everything that is known to be wrong is taken out.
pub(super) fn meaning_of_sound_parts(value: &Value, known: &Problems, base: &FilePath) -> Problems {
    let mut value = value.clone();
    for path in known.paths() {
        remove(&mut value, path);
    }
    let providers = value.as_object_mut().and_then(|root| root.remove("providers"));
    let mut problems = Problems::default();
    if let Ok(config) = Config::deserialize(value) {
        meaning::of_node(&config, base, &mut problems);
    }
    let providers: Vec<(usize, Provider)> = providers
        .as_ref()
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
        .filter_map(|(index, provider)| Some((index, Provider::deserialize(provider).ok()?)))
        .collect();
    meaning::of_providers(&providers, base, &mut problems);
    problems
}

/// Removes the setting at the path; of an element of a list, the setting that is the list; of a setting that is
/// missing, the group that lacks it. A provider's place in the list of providers stays, because it is in the paths of
/// the others.
fn remove(value: &mut Value, path: &Path) {
    let mut segments = path.segments();
    if find(value, path).is_none() {
        segments = segments.split_last().map_or(segments, |(_, around)| around);
    }
    let Some(last_key) = segments.iter().rposition(|segment| matches!(segment, Segment::Key(_))) else {
        return;
    };
    if last_key == 0 && segments.len() > 1 && segments[0] == Segment::Key("providers".to_owned()) {
        return;
    }
    let around = segments[..last_key].iter().try_fold(value, |value, segment| match segment {
        Segment::Key(key) => value.get_mut(key),
        Segment::Index(index) => value.get_mut(index),
    });
    if let (Some(Value::Object(group)), Segment::Key(key)) = (around, &segments[last_key]) {
        group.remove(key);
    }
}
