//! Stage 5, `response_filter` and `response_body_filter`: what goes to the client, and the settlement before its end.

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};

use super::Gateway;
use super::context::{Current, RequestContext};
use super::reply::{self, REQUEST_ID};

impl Gateway {
    /// The head of the answer as the client gets it.
    pub(super) fn pass_head(&self, head: &mut ResponseHeader, ctx: &mut RequestContext) -> Result<()> {
        wanted(ctx.current.as_ref())?;
        let length = head.headers.get(http::header::CONTENT_LENGTH).cloned();
        reply::clean(head);
        let streams = head
            .headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|t| t.as_bytes().starts_with(b"text/event-stream"));
        if let Some(current) = ctx.current.as_mut().filter(|_| !streams) {
            // An error is one document, with nothing to take out.
            current.usage_chunk = None;
        }
        let rewritten = ctx.current.as_ref().is_some_and(|current| current.usage_chunk.is_some());
        match length.filter(|_| !rewritten) {
            Some(length) => head.insert_header(http::header::CONTENT_LENGTH, length)?,
            // RFC 9112, 6.1: these have no body, and no framing.
            None if matches!(head.status.as_u16(), 204 | 304) => {}
            // HTTP/2 frames for itself; Pingora takes this out there.
            None => head.insert_header(http::header::TRANSFER_ENCODING, "chunked")?,
        }
        head.insert_header(REQUEST_ID, ctx.id.to_string())?;
        ctx.status = Some(head.status.as_u16());
        self.app.metrics.time_to_first_byte.observe(ctx.arrived.elapsed().as_secs_f64());
        Ok(())
    }

    /// A piece of the answer. Settles before the piece that ends it is passed on: whoever has seen a whole answer
    /// has paid for it.
    pub(super) fn pass_body(&self, body: &mut Option<Bytes>, end: bool, ctx: &mut RequestContext) -> Result<()> {
        let Some(current) = ctx.current.as_mut() else { return Ok(()) };
        if let Some(filter) = current.usage_chunk.as_mut() {
            let piece = body.take().map(|piece| filter.push(piece)).unwrap_or_default();
            let rest = if end { filter.finish() } else { Bytes::new() };
            *body = Some(if rest.is_empty() { piece } else { [piece, rest].concat().into() });
        }
        if end || current.tab.is_complete() {
            current.tab.settle(current.tab.outcome(), None);
            ctx.free_place();
        }
        // Last: what was settled just now is passed on, what the stop has settled is not.
        wanted(ctx.current.as_ref())
    }
}

/// An answer that was settled because the process ends goes no further: nobody would pay for the rest.
fn wanted(current: Option<&Current>) -> Result<()> {
    if current.is_some_and(|current| current.tab.is_interrupted()) {
        return Err(Error::explain(ErrorType::InternalError, "the gateway stops").into_in());
    }
    Ok(())
}
