#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::limit::test_data::{Data, daily, usd, user};

#[test]
fn an_explanation_names_the_row_the_boost_and_what_comes_next() {
    let snapshot = Data::new()
        .user_group(4, "interns", &[1])
        .limit_on_user_group(4, &[daily(5)])
        .boost(1, Window::Daily, 2, 1_000, 2_000)
        .snapshot();
    let budget = snapshot.resolve(&user(1), &user(9), "model").user.group.unwrap();
    let at = |now| snapshot.explain(&budget.policy, now).remove(0);
    let boosted = CapExplanation {
        window: Window::Daily,
        mode: Mode::Calendar { at: 0 },
        cap: usd(7),
        base: usd(5),
        boost: usd(2),
        source: Source::UserGroup(4),
        source_name: Some("interns".to_owned()),
        next_step: Some(CapStep { from: 2_000, cap: usd(5) }),
    };
    assert_eq!(at(1_000), boosted);
    let before = at(999);
    assert_eq!(
        (before.cap, before.boost, before.next_step),
        (usd(5), usd(0), Some(CapStep { from: 1_000, cap: usd(7) }))
    );
    let after = at(2_000);
    assert_eq!((after.cap, after.boost, after.next_step), (usd(5), usd(0), None));
}

#[test]
fn scopes_have_the_names_of_answers() {
    let snapshot = Data::new().snapshot();
    assert_eq!(snapshot.scope_name(Scope::Mainline), Some("mainline"));
    assert_eq!(snapshot.scope_name(Scope::ModelGroup(7)), Some("group-7"));
    assert_eq!(snapshot.scope_name(Scope::ModelGroup(8)), None);
}

#[test]
fn sources_have_the_names_of_answers() {
    let sources = [Source::User(1), Source::UserGroup(2), Source::Key(3), Source::Provider(4)];
    let named = sources.map(|source| (source.kind(), source.id()));
    assert_eq!(named, [("user", 1), ("user_group", 2), ("key", 3), ("provider", 4)]);
}
