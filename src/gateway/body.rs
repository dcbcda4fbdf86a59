//! The request's body: read whole, within bounds of size and time, and unpacked.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use pingora::ErrorType;
use pingora_proxy::Session;

use crate::dialect::{ErrorCode, GatewayError};

/// Reads the whole body.
///
/// # Errors
/// As the client is told. `None` when the client has left: there is nobody to tell.
pub(super) async fn read(session: &mut Session, max: u64, time: Duration) -> Result<Bytes, Option<GatewayError>> {
    if content_length(&session.req_header().headers).is_some_and(|n| n > max) {
        return Err(Some(too_large(max)));
    }
    if expects_continue(&session.req_header().headers) {
        // Pingora closes the connection after an interim answer unless its keep-alive is put back.
        let keepalive = session.get_keepalive();
        session.downstream_session.write_continue_response().await.map_err(|_| None)?;
        session.set_keepalive(keepalive);
    }
    tokio::time::timeout(time, read_all(session, max)).await.map_err(|_| {
        Some(GatewayError::new(
            ErrorCode::RequestTimeout,
            format!("the body of the request did not arrive within {time:?}"),
        ))
    })?
}

async fn read_all(session: &mut Session, max: u64) -> Result<Bytes, Option<GatewayError>> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        match session.read_request_body().await {
            Ok(Some(piece)) => {
                let so_far = first.as_ref().map_or(0, Bytes::len) + rest.len();
                if (so_far + piece.len()) as u64 > max {
                    return Err(Some(too_large(max)));
                }
                match &first {
                    // Most bodies come in one piece, which then is not copied.
                    None => first = Some(piece),
                    Some(head) => {
                        if rest.is_empty() {
                            rest.reserve(head.len() + piece.len());
                            rest.extend_from_slice(head);
                            first = Some(Bytes::new());
                        }
                        rest.extend_from_slice(&piece);
                    }
                }
            }
            Ok(None) if rest.is_empty() => return Ok(first.unwrap_or_default()),
            Ok(None) => return Ok(rest.freeze()),
            Err(error) => {
                return Err(match error.etype() {
                    ErrorType::ReadTimedout => Some(GatewayError::new(
                        ErrorCode::RequestTimeout,
                        "the body of the request did not arrive in time",
                    )),
                    ErrorType::ConnectionClosed => None,
                    _ => Some(GatewayError::new(
                        ErrorCode::InvalidRequest,
                        "the body of the request is not framed as HTTP demands: its chunks or its length are wrong",
                    )),
                });
            }
        }
    }
}

/// Undoes the body's `content-encoding`, within the same bound of size.
///
/// # Errors
/// When the encoding is not supported, the data is damaged, or too large when unpacked.
pub(super) fn unpack(headers: &HeaderMap, body: Bytes, max: u64) -> Result<Bytes, GatewayError> {
    let mut codings = headers
        .get_all(http::header::CONTENT_ENCODING)
        .iter()
        .flat_map(|v| v.to_str().unwrap_or("?").split(','))
        .map(|coding| coding.trim().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity");
    let Some(coding) = codings.next() else { return Ok(body) };
    if codings.next().is_some() {
        return Err(unsupported("more than one content-encoding"));
    }
    match coding.as_str() {
        "gzip" | "x-gzip" => unpack_with(flate2::read::MultiGzDecoder::new(&*body), "gzip", max),
        "zstd" => match zstd::stream::read::Decoder::new(&*body) {
            Ok(decoder) => unpack_with(decoder, "zstd", max),
            Err(_) => Err(damaged("zstd")),
        },
        other => Err(unsupported(&format!("content-encoding {other:?}"))),
    }
}

fn unpack_with(packed: impl Read, coding: &str, max: u64) -> Result<Bytes, GatewayError> {
    let mut plain = Vec::new();
    packed.take(max.saturating_add(1)).read_to_end(&mut plain).map_err(|_| damaged(coding))?;
    if plain.len() as u64 > max {
        return Err(too_large(max));
    }
    Ok(plain.into())
}

fn too_large(max: u64) -> GatewayError {
    GatewayError::new(ErrorCode::RequestTooLarge, format!("the body of the request is larger than {max} bytes"))
}

fn unsupported(what: &str) -> GatewayError {
    GatewayError::new(
        ErrorCode::UnsupportedEncoding,
        format!("{what} is not supported; send the body plain, or packed once with gzip or zstd"),
    )
}

fn damaged(coding: &str) -> GatewayError {
    GatewayError::new(ErrorCode::InvalidRequest, format!("the body of the request is not valid {coding} data"))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(http::header::EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write;

    use super::*;

    fn encoded(coding: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_ENCODING, http::HeaderValue::from_static(coding));
        headers
    }

    fn gzip(plain: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn gzip_and_zstd_are_unpacked() {
        assert_eq!(unpack(&encoded("gzip"), gzip(b"hello"), 5).unwrap(), "hello");
        let packed = zstd::encode_all(&b"hello"[..], 1).unwrap();
        assert_eq!(unpack(&encoded("zstd"), packed.into(), 5).unwrap(), "hello");
        assert_eq!(unpack(&encoded("identity"), Bytes::from_static(b"hello"), 5).unwrap(), "hello");
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let bomb = gzip(&vec![0; 4 << 20]);
        assert!(bomb.len() < 32 << 10, "the bomb is small when packed");
        let error = unpack(&encoded("gzip"), bomb, 1 << 20).unwrap_err();
        assert_eq!(error.code, ErrorCode::RequestTooLarge);
    }

    #[test]
    fn damaged_data_and_unknown_codings_are_told_apart() {
        let garbage = Bytes::from_static(b"not gzip");
        assert_eq!(unpack(&encoded("gzip"), garbage.clone(), 99).unwrap_err().code, ErrorCode::InvalidRequest);
        assert_eq!(unpack(&encoded("br"), garbage.clone(), 99).unwrap_err().code, ErrorCode::UnsupportedEncoding);
        assert_eq!(unpack(&encoded("gzip, gzip"), garbage, 99).unwrap_err().code, ErrorCode::UnsupportedEncoding);
    }
}
