//! What the operator needs for a first try: the configuration of the pretend providers, and commands to paste.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Prices are known for these, so that the first requests cost something in the ledger.
pub(super) const CHAT_MODEL: &str = "gpt-4o-mini";
pub(super) const ANTHROPIC_MODEL: &str = "claude-sonnet-5-5";
pub(super) const GEMINI_MODEL: &str = "gemini-2.5-flash";

/// The pretend providers at `address`, as the value of `providers` in the configuration file.
///
/// They come before all others: whoever starts a demo does not want to pay for it.
#[must_use]
pub fn config_providers(address: SocketAddr) -> String {
    let families = [
        ("anthropic", "anthropic", r#""claude-*""#),
        ("openai", "openai_chat, openai_responses, openai_embeddings", r#""gpt-*", "o[1-9]*", "text-embedding-*""#),
        ("gemini", "gemini", r#""gemini-*""#),
    ];
    let entry = |(name, dialects, models): (&str, &str, &str)| {
        format!(
            "- name: demo-{name}\n  dialects: [{dialects}]\n  base_url: http://{address}\n  api_key: pretend\n  \
             models: [{models}]\n  priority: -1000\n"
        )
    };
    families.map(entry).concat()
}

/// Commands to paste, each on one line, for a gateway that listens at `gateway` and a user's `key`; with the admin
/// address and token, one that shows what the others have cost.
#[must_use]
pub fn curl_lines(gateway: SocketAddr, key: &str, admin: Option<(SocketAddr, &str)>) -> Vec<String> {
    let base = format!("http://{}", reachable(gateway));
    let json = "-H 'content-type: application/json'";
    let mut lines = vec![
        format!(
            "curl -sS {base}/v1/chat/completions -H 'authorization: Bearer {key}' {json} \
             -d '{{\"model\":\"{CHAT_MODEL}\",\"messages\":[{{\"role\":\"user\",\"content\":\"What is a toll gate?\"}}]}}'"
        ),
        format!(
            "curl -sSN {base}/v1/messages -H 'x-api-key: {key}' -H 'anthropic-version: 2023-06-01' {json} \
             -d '{{\"model\":\"{ANTHROPIC_MODEL}\",\"max_tokens\":200,\"stream\":true,\
             \"messages\":[{{\"role\":\"user\",\"content\":\"Who pays at the gate?\"}}]}}'"
        ),
        format!(
            "curl -sSN '{base}/v1beta/models/{GEMINI_MODEL}:streamGenerateContent?alt=sse' -H 'x-goog-api-key: {key}' {json} \
             -d '{{\"contents\":[{{\"role\":\"user\",\"parts\":[{{\"text\":\"How much is the toll?\"}}]}}]}}'"
        ),
        format!("curl -sS {base}/v1/models -H 'authorization: Bearer {key}'"),
    ];
    if let Some((admin, token)) = admin {
        lines.push(format!("curl -sS http://{}/api/v1/usage -H 'authorization: Bearer {token}'", reachable(admin)));
    }
    lines
}

/// An address that a client on this machine can connect to: a listener on all addresses is asked for on loopback.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}
