//! Where a value of Redis' protocol ends.

use bytes::{Bytes, BytesMut};

/// The first whole value, as it came; none as long as it is not all there.
pub fn take(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = length(buffer)?;
    Some(buffer.split_to(length).freeze())
}

/// The words of a command, which is an array of strings.
pub fn words(command: &[u8]) -> Vec<&[u8]> {
    let Some((count, mut at)) = number(command, 1) else { return Vec::new() };
    let mut words = Vec::new();
    for _ in 0..count {
        let Some((length, start)) = number(command, at + 1) else { break };
        let end = start + usize::try_from(length).unwrap();
        words.push(&command[start..end]);
        at = end + 2;
    }
    words
}

fn length(bytes: &[u8]) -> Option<usize> {
    let kind = *bytes.first()?;
    let (count, after) = match kind {
        b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|' => number(bytes, 1)?,
        _ => return Some(line(bytes, 1)?.1),
    };
    // Nothing, said as a length of -1.
    let Ok(count) = usize::try_from(count) else { return Some(after) };
    let values = match kind {
        b'$' | b'!' | b'=' => {
            let end = after + count + 2;
            return (bytes.len() >= end).then_some(end);
        }
        b'%' => count * 2,
        // What is said about a value comes before it.
        b'|' => count * 2 + 1,
        _ => count,
    };
    let mut at = after;
    for _ in 0..values {
        at += length(bytes.get(at..)?)?;
    }
    Some(at)
}

/// The number on a line that begins there, and where the next line begins.
fn number(bytes: &[u8], from: usize) -> Option<(i64, usize)> {
    let (line, after) = line(bytes, from)?;
    let number = std::str::from_utf8(line).ok()?.parse().unwrap_or_else(|_| panic!("no number: {line:?}"));
    Some((number, after))
}

fn line(bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let end = from + bytes.get(from..)?.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[from..end], end + 2))
}

/// A command with these words.
pub fn command(words: &[&str]) -> Vec<u8> {
    let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect::<Vec<_>>();
    format!("*{}\r\n{}", words.len(), words.concat()).into_bytes()
}
