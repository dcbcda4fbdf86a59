//! The provider's side of HTTP/1.1, written by hand so that it can break every rule.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::answer::{Answer, End, Framing, Part};
use super::{Received, State};
use crate::support::wire::Stream;

/// Serves one connection until either side ends it.
pub(super) async fn serve(mut stream: impl Stream, socket: &Socket, state: &State, connection: usize) {
    let mut buffer = BytesMut::new();
    while let Some(request) = read_head(&mut stream, &mut buffer, connection).await {
        let framing = body_framing(&request);
        let index = state.arrived(request);
        let early = state.is_next_early();
        if !early {
            let Some(body) = read_body(&mut stream, &mut buffer, framing).await else {
                state.abandoned(index);
                return;
            };
            state.completed(index, body);
        }
        let answer = state.answer(index);
        if write(&mut stream, &answer, &state.sent).await.is_none() {
            state.abandoned(index);
            return;
        }
        match answer.end {
            End::KeepAlive if early => return drop_unread(&mut stream).await,
            End::KeepAlive => {}
            End::Close => {
                let _ = stream.shutdown().await;
                return;
            }
            End::Reset => {
                socket.set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
            End::Hang => {
                drop_unread(&mut stream).await;
                state.abandoned(index);
                return;
            }
        }
    }
}

async fn read_head(stream: &mut impl Stream, buffer: &mut BytesMut, connection: usize) -> Option<Received> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        fill(stream, buffer).await?;
    };
    let text = buffer.split_to(end + 4);
    let text = std::str::from_utf8(&text).expect("the gateway sends a head in ASCII");
    let mut lines = text.trim_end().split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, target, version) = (first.next().unwrap(), first.next().unwrap(), first.next().unwrap());
    assert_eq!(version, "HTTP/1.1");
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    Some(Received {
        connection,
        version: http::Version::HTTP_11,
        method: method.to_owned(),
        target: target.to_owned(),
        headers: headers.collect(),
        body: Bytes::new(),
        complete: false,
        abandoned: false,
    })
}

/// The length of the body; none when it comes in chunks.
fn body_framing(request: &Received) -> Option<usize> {
    let (length, coding) = (request.header("content-length"), request.header("transfer-encoding"));
    assert!(length.is_none() || coding.is_none(), "framed twice: {request:?}");
    if coding.is_some() {
        return None;
    }
    Some(length.map_or(0, |length| length.parse().unwrap()))
}

async fn read_body(stream: &mut impl Stream, buffer: &mut BytesMut, length: Option<usize>) -> Option<Bytes> {
    if let Some(length) = length {
        return take(stream, buffer, length).await;
    }
    let mut body = BytesMut::new();
    loop {
        let mut line = BytesMut::new();
        while !line.ends_with(b"\r\n") {
            line.extend_from_slice(&take(stream, buffer, 1).await?);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim_end(), 16).unwrap();
        body.extend_from_slice(&take(stream, buffer, size).await?);
        assert_eq!(&take(stream, buffer, 2).await?[..], b"\r\n");
        if size == 0 {
            return Some(body.freeze());
        }
    }
}

async fn take(stream: &mut impl Stream, buffer: &mut BytesMut, length: usize) -> Option<Bytes> {
    while buffer.len() < length {
        fill(stream, buffer).await?;
    }
    Some(buffer.split_to(length).freeze())
}

async fn fill(stream: &mut impl Stream, buffer: &mut BytesMut) -> Option<()> {
    matches!(stream.read_buf(buffer).await, Ok(1..)).then_some(())
}

/// Writes an answer; none when the gateway went away meanwhile.
async fn write(stream: &mut impl Stream, answer: &Answer, sent: &AtomicUsize) -> Option<()> {
    for part in &answer.before {
        match part {
            Part::Bytes(bytes) => write_some(stream, bytes, &mut bytes.len(), sent).await?,
            other => wait(stream, other).await?,
        }
    }
    let mut left = answer.cut.unwrap_or(usize::MAX);
    write_some(stream, head(answer).as_bytes(), &mut left, sent).await?;
    for part in &answer.parts {
        let Part::Bytes(bytes) = part else {
            wait(stream, part).await?;
            continue;
        };
        match answer.framing {
            Framing::Length => write_some(stream, bytes, &mut left, sent).await?,
            Framing::Chunked if bytes.is_empty() => {}
            Framing::Chunked => {
                let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
                write_some(stream, &chunk, &mut left, sent).await?;
            }
        }
    }
    if answer.framing == Framing::Chunked && answer.end == End::KeepAlive {
        write_some(stream, b"0\r\n\r\n", &mut left, sent).await?;
    }
    write_some(stream, &answer.garbage, &mut left, sent).await
}

fn head(answer: &Answer) -> String {
    // No reason phrase: nobody may depend on it.
    let mut head = format!("HTTP/1.1 {} \r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    match answer.framing {
        Framing::Length => {
            let length = answer.body().len().saturating_add_signed(answer.lie);
            head += &format!("content-length: {length}\r\n");
        }
        Framing::Chunked => head += "transfer-encoding: chunked\r\n",
    }
    head + "\r\n"
}

async fn write_some(stream: &mut impl Stream, bytes: &[u8], left: &mut usize, sent: &AtomicUsize) -> Option<()> {
    let length = bytes.len().min(*left);
    *left -= length;
    stream.write_all(&bytes[..length]).await.ok()?;
    sent.fetch_add(length, Ordering::Relaxed);
    stream.flush().await.ok()
}

/// Waits as a part says; none when the gateway goes away meanwhile.
async fn wait(stream: &mut impl Stream, part: &Part) -> Option<()> {
    let waiting = async {
        match part {
            Part::Pause(time) => tokio::time::sleep(*time).await,
            Part::Gate(gate) => gate.pass().await,
            Part::Bytes(_) => {}
        }
    };
    tokio::select! {
        () = waiting => Some(()),
        () = drop_unread(stream) => None,
    }
}

/// Reads and forgets until the gateway goes away.
async fn drop_unread(stream: &mut impl Stream) {
    let mut buffer = [0; 8192];
    while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
}
