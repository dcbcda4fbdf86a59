//! The secret that a request carries, wherever its dialect puts it.

use http::HeaderMap;

use crate::dialect::query_credentials;

/// Why no secret could be taken from a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CredentialError {
    /// There is none.
    Missing,
    /// Two places hold different ones.
    Conflict,
}

/// The secret of a request: `Authorization: Bearer`, `x-api-key`, `x-goog-api-key` or `?key=`. Several must agree.
pub(super) fn secret(headers: &HeaderMap, query: Option<&str>) -> Result<String, CredentialError> {
    let mut found: Option<String> = None;
    let mut take = |candidate: String| match &found {
        _ if candidate.is_empty() => Ok(()),
        Some(other) if *other != candidate => Err(CredentialError::Conflict),
        _ => {
            found = Some(candidate);
            Ok(())
        }
    };
    for value in headers.get_all(http::header::AUTHORIZATION) {
        let text = value.to_str().map_err(|_| CredentialError::Conflict)?;
        if let Some((scheme, rest)) = text.split_once(' ')
            && scheme.eq_ignore_ascii_case("bearer")
        {
            take(rest.trim().to_owned())?;
        }
    }
    for name in ["x-api-key", "x-goog-api-key"] {
        for value in headers.get_all(name) {
            take(value.to_str().map_err(|_| CredentialError::Conflict)?.trim().to_owned())?;
        }
    }
    for value in query_credentials(query.unwrap_or_default()) {
        take(value.trim().to_owned())?;
    }
    found.ok_or(CredentialError::Missing)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, http::HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn every_place_is_read() {
        for pair in
            [("authorization", "Bearer s"), ("authorization", "bearer s"), ("x-api-key", "s"), ("x-goog-api-key", "s")]
        {
            assert_eq!(secret(&headers(&[pair]), None).unwrap(), "s", "{pair:?}");
        }
        assert_eq!(secret(&headers(&[]), Some("alt=sse&key=s")).unwrap(), "s");
        assert_eq!(secret(&headers(&[]), Some("%6bey=%73")).unwrap(), "s");
    }

    #[test]
    fn several_that_agree_are_one() {
        let map = headers(&[("authorization", "Bearer s"), ("x-api-key", "s")]);
        assert_eq!(secret(&map, Some("key=s")).unwrap(), "s");
    }

    #[test]
    fn two_that_differ_are_refused_wherever_they_are() {
        let map = headers(&[("authorization", "Bearer s"), ("x-api-key", "t")]);
        assert_eq!(secret(&map, None), Err(CredentialError::Conflict));
        assert_eq!(secret(&headers(&[("x-api-key", "s")]), Some("key=t")), Err(CredentialError::Conflict));
        let twice = headers(&[("x-api-key", "s"), ("x-api-key", "t")]);
        assert_eq!(secret(&twice, None), Err(CredentialError::Conflict));
    }

    #[test]
    fn empty_ones_do_not_count() {
        let map = headers(&[("authorization", "Bearer "), ("x-api-key", "")]);
        assert_eq!(secret(&map, Some("key=")), Err(CredentialError::Missing));
        assert_eq!(secret(&headers(&[("authorization", "Basic abc")]), None), Err(CredentialError::Missing));
    }
}
