#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::*;

const NONE: ClientHints = ClientHints { google: false, anthropic: false };

fn post(path: &str) -> Result<Route, RouteError> {
    route("POST", path, None, NONE)
}

#[test]
fn every_path_of_the_contract_has_its_endpoint_and_goes_upstream_as_it_came() {
    for (path, endpoint) in [
        ("/v1/messages", Endpoint::Messages),
        ("/v1/messages/count_tokens", Endpoint::MessagesCountTokens),
        ("/v1/chat/completions", Endpoint::ChatCompletions),
        ("/v1/responses", Endpoint::Responses),
        ("/v1/embeddings", Endpoint::Embeddings),
        ("/v1beta/models/gemini-2.5-pro:generateContent", Endpoint::GenerateContent),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", Endpoint::StreamGenerateContent),
        ("/v1beta/models/gemini-2.5-pro:countTokens", Endpoint::GeminiCountTokens),
        ("/v1beta/models/gemini-2.5-pro:embedContent", Endpoint::EmbedContent),
        ("/v1beta/models/gemini-2.5-pro:batchEmbedContents", Endpoint::BatchEmbedContents),
    ] {
        for spelled in [path.to_owned(), format!("{path}/")] {
            let route = post(&spelled).unwrap();
            assert_eq!(route.endpoint, endpoint);
            assert_eq!(route.shape, endpoint.dialect().unwrap().shape());
            assert_eq!(route.upstream_path("gemini-2.5-pro"), path);
        }
        let error = route("GET", path, None, NONE).unwrap_err();
        assert_eq!(error.problem, RouteProblem::MethodNotAllowed { allow: "POST" });
        assert_eq!(error.to_gateway_error().code, ErrorCode::MethodNotAllowed);
    }
}

#[test]
fn counting_and_lists_are_free() {
    let free = [Endpoint::MessagesCountTokens, Endpoint::GeminiCountTokens, Endpoint::ListModels, Endpoint::GetModel];
    for endpoint in free {
        assert!(!endpoint.is_generation());
        assert_eq!(endpoint.is_counting(), endpoint.dialect().is_some());
    }
    assert!(Endpoint::Embeddings.is_generation() && Endpoint::Messages.is_generation());
}

#[test]
fn model_lists_are_in_the_shape_that_the_client_expects() {
    let google = ClientHints::from_headers(|name| name == "x-goog-api-key");
    let anthropic = ClientHints::from_headers(|name| name == "anthropic-version");
    let shape = |path, hints| route("GET", path, None, hints).unwrap().shape;
    assert_eq!(shape("/v1/models", NONE), Shape::Openai);
    assert_eq!(shape("/v1/models", anthropic), Shape::Anthropic);
    assert_eq!(shape("/v1/models", google), Shape::Gemini);
    assert_eq!(shape("/v1beta/models", anthropic), Shape::Gemini);
    assert_eq!(shape("/v1/models/claude-sonnet-4-5", anthropic), Shape::Anthropic);
    let error = post("/v1/models").unwrap_err();
    assert_eq!(error.problem, RouteProblem::MethodNotAllowed { allow: "GET" });
}

#[test]
fn an_unknown_path_is_not_found_in_the_right_shape() {
    let paths = [
        ("/", Shape::Openai),
        ("", Shape::Openai),
        ("/v1/completions", Shape::Openai),
        ("/v1/chat/completions//", Shape::Openai),
        ("//v1/chat/completions", Shape::Openai),
        ("/v1/messages/batches", Shape::Anthropic),
        ("/v1/messagesx", Shape::Openai),
        ("/v1beta/models/gemini-2.5-pro:predict", Shape::Gemini),
        ("/v1beta/models/a/b:generateContent", Shape::Gemini),
        ("/v1beta/tunedModels/x:generateContent", Shape::Gemini),
        ("/v1/models/", Shape::Openai),
    ];
    for (path, shape) in paths {
        match post(path) {
            Err(error) if path != "/v1/models/" => {
                assert_eq!((error.problem, error.shape), (RouteProblem::NotFound, shape), "{path}");
            }
            other => assert!(path == "/v1/models/" && other.is_err(), "{path}"),
        }
    }
}

#[test]
fn a_gemini_model_is_decoded_and_encoded_again() {
    let route = post("/v1beta/models/my%20model%2B%C3%A4:generateContent").unwrap();
    assert_eq!(route.path_model.as_deref(), Some("my model+ä"));
    assert_eq!(route.upstream_path("my model+ä"), "/v1beta/models/my%20model%2B%C3%A4:generateContent");
    assert_eq!(route.upstream_path("a/../b?c#d:e%"), "/v1beta/models/a%2F..%2Fb%3Fc%23d%3Ae%25:generateContent");
    let colon = post("/v1beta/models/gemini-2.5-pro%3AgenerateContent").unwrap();
    assert_eq!((colon.endpoint, colon.path_model.as_deref()), (Endpoint::GenerateContent, Some("gemini-2.5-pro")));
}

#[test]
fn a_gemini_model_that_could_leave_its_segment_is_refused() {
    let long = "m".repeat(MAX_MODEL_BYTES + 1);
    for model in
        ["", "a%2Fb", "..", "a..b", ".", "a%5Cb", "a%00b", "a%0D%0Ab", "%C3", "a%3AcountTokens", "%7F", long.as_str()]
    {
        let error = post(&format!("/v1beta/models/{model}:generateContent")).unwrap_err();
        assert_eq!(error.problem, RouteProblem::InvalidModel, "{model}");
        assert_eq!(error.to_gateway_error().code, ErrorCode::InvalidRequest);
    }
    assert!(post(&format!("/v1beta/models/{}:generateContent", "m".repeat(MAX_MODEL_BYTES))).is_ok());
}

#[test]
fn a_model_that_is_only_looked_up_may_have_slashes_and_colons() {
    let found = route("GET", "/v1/models/meta%2Fllama:free", None, NONE).unwrap();
    assert_eq!((found.endpoint, found.path_model.as_deref()), (Endpoint::GetModel, Some("meta/llama:free")));
    assert!(route("GET", "/v1/models/a%00", None, NONE).is_err());
    let gemini = route("GET", "/v1beta/models/gemini-2.5-pro", None, NONE).unwrap();
    assert_eq!((gemini.endpoint, gemini.path_model.as_deref()), (Endpoint::GetModel, Some("gemini-2.5-pro")));
}

#[test]
fn no_spelling_of_a_credential_goes_upstream() {
    for query in [
        "key=s",
        "KEY=s",
        "%6bey=s",
        "k%65y=s",
        "%6B%65%79=s",
        "key",
        "key=",
        "access_token=s",
        "%24key=s",
        "$key=s",
        "+key=s",
        "key+=s",
        "alt;key=s",
        "api_key=s",
    ] {
        for endpoint in ["/v1/messages", "/v1beta/models/m:generateContent"] {
            let route = route("POST", endpoint, Some(&format!("{query}&{query}")), NONE).unwrap();
            assert_eq!(route.forward_query, None, "{query}");
        }
    }
}

#[test]
fn what_the_sdks_send_in_the_query_goes_upstream() {
    let forwarded = |path, query| route("POST", path, Some(query), NONE).unwrap().forward_query;
    assert_eq!(forwarded("/v1/messages", "beta=true&key=s").as_deref(), Some("beta=true"));
    assert_eq!(
        forwarded("/v1/chat/completions", "api-version=2024-10-21&&x=1").as_deref(),
        Some("api-version=2024-10-21&x=1")
    );
    let stream = route("POST", "/v1beta/models/m:streamGenerateContent", Some("alt=sse&key=s"), NONE).unwrap();
    assert_eq!(stream.upstream_path_and_query("n"), "/v1beta/models/n:streamGenerateContent?alt=sse");
    assert_eq!(post("/v1/messages").unwrap().upstream_path_and_query("n"), "/v1/messages");
    let gapic = "%24alt=json%3Benum-encoding%3Dint";
    assert_eq!(forwarded("/v1beta/models/m:generateContent", gapic).as_deref(), Some(gapic));
}

#[test]
fn a_gemini_query_cannot_hide_the_usage() {
    for query in [
        "fields=candidates",
        "$fields=candidates",
        "alt=proto",
        "alt=media",
        "callback=f",
        "$httpHeaders=x",
        "quotaUser=u",
    ] {
        let route = route("POST", "/v1beta/models/m:generateContent", Some(query), NONE).unwrap();
        assert_eq!(route.forward_query, None, "{query}");
    }
}

#[test]
fn credentials_in_the_query_are_found_in_the_spellings_that_are_filtered() {
    let found: Vec<String> = query_credentials("a=1&key=tg-1&%6Bey=tg%2D2&KEY=&key").collect();
    assert_eq!(found, ["tg-1", "tg-2", ""]);
}

#[test]
fn googles_sdk_may_call_gemini_at_v1() {
    let found = route("POST", "/v1/models/gemini-2.5-flash:generateContent", None, NONE).unwrap();
    assert_eq!((found.endpoint, found.shape), (Endpoint::GenerateContent, Shape::Gemini));
    assert_eq!(found.upstream_path("gemini-2.5-flash"), "/v1beta/models/gemini-2.5-flash:generateContent");
    let refused = route("POST", "/v1/models/a%2Fb:streamGenerateContent", None, NONE).unwrap_err();
    assert_eq!((refused.problem, refused.shape), (RouteProblem::InvalidModel, Shape::Gemini));
    // A colon that begins no verb is part of a name.
    assert_eq!(route("GET", "/v1/models/llama:free", None, NONE).unwrap().endpoint, Endpoint::GetModel);
}
