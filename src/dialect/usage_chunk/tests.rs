#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

const STREAM: &str = include_str!("../golden/chat_stream.sse");

/// The stream without its usage chunk.
fn without_usage(stream: &str, blank: &str) -> String {
    let event = stream.split_inclusive(blank).find(|event| event.contains("\"choices\":[]")).unwrap();
    stream.replace(event, "")
}

fn filter<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut filter = UsageChunkFilter::new();
    let mut out = Vec::new();
    for part in parts {
        out.extend_from_slice(&filter.push(Bytes::copy_from_slice(part)));
    }
    out.extend_from_slice(&filter.finish());
    String::from_utf8(out).unwrap()
}

#[test]
fn the_usage_chunk_goes_and_every_other_byte_stays_at_every_cut() {
    for (stream, blank) in
        [(STREAM.to_owned(), "\n\n"), (STREAM.replace('\n', "\r\n"), "\r\n\r\n"), (STREAM.replace('\n', "\r"), "\r\r")]
    {
        let expected = without_usage(&stream, blank);
        assert_ne!(expected, stream);
        assert_eq!(filter([stream.as_bytes()]), expected);
        assert_eq!(filter(stream.as_bytes().chunks(1)), expected, "byte by byte");
        for cut in 1..stream.len() {
            let (head, tail) = stream.as_bytes().split_at(cut);
            assert_eq!(filter([head, tail]), expected, "cut at {cut}");
        }
    }
}

#[test]
fn what_is_not_the_usage_chunk_passes() {
    for body in [
        "data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\n",
        "data: {\"choices\":[],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":1},\"choices\":[{\"delta\":{}}]}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"choices\":[],\"usage\":{},\"error\":{\"message\":\"x\"}}\n\n",
        "data: {\"x\":{\"choices\":[],\"usage\":{}}}\n\n",
        "data: \"choices\\\":[],\\\"usage\\\":{}\"\n\n",
        ": keep-alive\n\n",
        "data: [DONE]\n\n",
        "data: {broken\n\n",
        "{\"error\":{\"message\":\"not a stream\"}}",
        "\n\n\n",
        "",
    ] {
        assert_eq!(filter([body.as_bytes()]), body);
        assert_eq!(filter(body.as_bytes().chunks(1)), body);
    }
}

#[test]
fn the_usage_chunk_is_known_in_other_spellings() {
    for body in [
        "data:{\"usage\":{\"prompt_tokens\":1},\"choices\":[]}\n\n",
        "id: 1\nevent: x\ndata: {\"choices\": [ ],\ndata: \"usage\": {\"prompt_tokens\":1}}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}",
    ] {
        assert_eq!(filter([body.as_bytes()]), "");
        assert_eq!(filter(body.as_bytes().chunks(1)), "");
    }
}

#[test]
fn a_complete_event_is_never_held_and_its_bytes_are_not_copied() {
    let mut filter = UsageChunkFilter::new();
    for event in STREAM.split_inclusive("\n\n").filter(|event| !event.contains("\"choices\":[]")) {
        let bytes = Bytes::copy_from_slice(event.as_bytes());
        let passed = filter.push(bytes.clone());
        assert_eq!(passed, bytes);
        assert_eq!(passed.as_ptr(), bytes.as_ptr());
    }
}

#[test]
fn an_event_is_released_as_soon_as_it_is_clear_what_it_is() {
    let mut filter = UsageChunkFilter::new();
    assert_eq!(filter.push(Bytes::from_static(b"data: {\"id\":1,\"choi")), "");
    assert_eq!(filter.push(Bytes::from_static(b"ces\":[")), "", "it may still be empty");
    assert_eq!(filter.push(Bytes::from_static(b"{")), "data: {\"id\":1,\"choices\":[{", "it is not");
    assert_eq!(filter.push(Bytes::from_static(b"\"delta\":{\"content\":\"H")), "\"delta\":{\"content\":\"H");
    assert_eq!(filter.push(Bytes::from_static(b"i\"}}]}\n\ndata: [")), "i\"}}]}\n\ndata: [", "this is the end mark");
    assert_eq!(filter.push(Bytes::from_static(b"DONE]\n\nda")), "DONE]\n\n");
}

#[test]
fn an_event_that_never_ends_is_not_kept() {
    let mut filter = UsageChunkFilter::new();
    let mut passed = filter.push(Bytes::from_static(b"data: {\"choices\":[],\"x\":\"")).len();
    for _ in 0..100 {
        passed += filter.push(Bytes::from(vec![b'a'; 1000])).len();
        assert!(filter.held.len() <= MAX_HELD);
    }
    assert_eq!(passed, 25 + 100_000);
}

proptest! {
    #[test]
    fn any_cuts_give_the_same(mut cuts in prop::collection::vec(0..STREAM.len(), 0..12)) {
        cuts.extend([0, STREAM.len()]);
        cuts.sort_unstable();
        let parts = cuts.windows(2).map(|pair| &STREAM.as_bytes()[pair[0]..pair[1]]);
        prop_assert_eq!(filter(parts), without_usage(STREAM, "\n\n"));
    }

    #[test]
    fn noise_without_a_usage_chunk_passes_whole(text in "[a-z\"{}\\[\\]:,\r\n ]{0,200}", size in 1_usize..9) {
        prop_assert_eq!(filter(text.as_bytes().chunks(size)), text);
    }
}
