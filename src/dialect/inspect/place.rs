//! Where in a body the things stand that its length says nothing about.
//!
//! Each place lists what is plain text there. Every other member is taken for a reference to something outside the
//! body: what providers add tomorrow is bounded too large, never too small.

use super::super::{Dialect, Endpoint};

/// A place in a body. Arrays are transparent: an element stands where its array does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    AnthropicTurn,
    AnthropicBlock,
    AnthropicSource,
    AnthropicTool,
    ChatTurn,
    ChatPart,
    ChatTool,
    /// `image_url`: a string, or an object with one.
    ImageUrl,
    ResponsesItem,
    ResponsesPart,
    ResponsesTool,
    GeminiContent,
    GeminiPart,
    GeminiBlob,
    GeminiFunctionResponse,
    GeminiRequest,
    GeminiTool,
    EmbeddingInput,
}

/// What to do with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Text that stands in the body, or nothing that costs.
    Skip,
    /// Another place.
    Into(Place),
    /// To be judged together with the object's other members.
    Note(Note),
    /// Something that is not in the body.
    Outside(&'static str),
    /// A tool that the provider runs.
    ServerTool,
    /// A tool that the provider describes.
    ProviderTool,
}

/// A member that is judged when its object ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// `type`.
    Kind,
    /// The bound on a tool's calls.
    Limit,
    /// The media type of `Data`.
    Media,
    /// Media in base64, or its `data:` URL.
    Data,
    /// Reasoning that the client carries.
    Encrypted,
}

impl Note {
    pub const COUNT: usize = 5;
}

impl Place {
    /// What a member is.
    #[inline]
    pub fn step(self, name: &str) -> Step {
        match self {
            Self::AnthropicTurn => match name {
                "content" => Step::Into(Self::AnthropicBlock),
                "role" => Step::Skip,
                _ => Step::Outside("an unknown member of a message"),
            },
            Self::AnthropicBlock => anthropic_block(name),
            Self::AnthropicSource => match name {
                "type" => Step::Skip,
                "media_type" => Step::Note(Note::Media),
                "data" => Step::Note(Note::Data),
                "content" => Step::Into(Self::AnthropicBlock),
                "file_id" => Step::Outside("file_id"),
                _ => Step::Outside("url"),
            },
            Self::AnthropicTool | Self::ChatTool | Self::ResponsesTool => match name {
                "type" => Step::Note(Note::Kind),
                "max_uses" => Step::Note(Note::Limit),
                _ => Step::Skip,
            },
            Self::ChatTurn => chat_turn(name),
            Self::ChatPart => chat_part(name),
            Self::ImageUrl => match name {
                "url" => Step::Note(Note::Data),
                "detail" | "format" => Step::Skip,
                _ => Step::Outside("image_url"),
            },
            Self::ResponsesItem => responses_item(name),
            Self::ResponsesPart => responses_part(name),
            Self::GeminiContent => match name {
                "parts" => Step::Into(Self::GeminiPart),
                "role" => Step::Skip,
                _ => Step::Outside("an unknown member of a content"),
            },
            Self::GeminiPart => gemini_part(name),
            Self::GeminiBlob => match name {
                "mimeType" | "mime_type" => Step::Note(Note::Media),
                "data" => Step::Note(Note::Data),
                "displayName" | "display_name" => Step::Skip,
                _ => Step::Outside("inlineData"),
            },
            Self::GeminiFunctionResponse => match name {
                "parts" => Step::Into(Self::GeminiPart),
                "id" | "name" | "response" | "willContinue" | "will_continue" | "scheduling" => Step::Skip,
                _ => Step::Outside("functionResponse"),
            },
            Self::GeminiRequest => match name {
                "content" => Step::Into(Self::GeminiContent),
                _ => Step::Skip,
            },
            Self::GeminiTool => match name {
                "functionDeclarations" | "function_declarations" => Step::Skip,
                "computerUse" | "computer_use" => Step::ProviderTool,
                _ => Step::ServerTool,
            },
            Self::EmbeddingInput => Step::Outside("an object in `input`"),
        }
    }

    /// Whether a plain text says something here.
    pub const fn reads_text(self) -> bool {
        matches!(self, Self::ImageUrl) || self.is_tool()
    }

    /// Whether an object here has members that are judged together.
    pub const fn is_judged(self) -> bool {
        matches!(
            self,
            Self::AnthropicSource
                | Self::GeminiBlob
                | Self::ImageUrl
                | Self::ResponsesItem
                | Self::AnthropicTool
                | Self::ChatTool
                | Self::ResponsesTool
        )
    }

    /// Whether tools stand here.
    pub const fn is_tool(self) -> bool {
        matches!(self, Self::AnthropicTool | Self::ChatTool | Self::ResponsesTool | Self::GeminiTool)
    }

    /// Where a member at the top of a body leads; none when it leads nowhere.
    pub fn top(name: &str, endpoint: Endpoint) -> Option<(Self, &'static str)> {
        Some(match (endpoint.dialect()?, name) {
            (Dialect::Anthropic, "messages") => (Self::AnthropicTurn, "messages"),
            (Dialect::Anthropic, "system") => (Self::AnthropicBlock, "system"),
            (Dialect::Anthropic, "tools") => (Self::AnthropicTool, "tools"),
            (Dialect::OpenaiChat, "messages") => (Self::ChatTurn, "messages"),
            (Dialect::OpenaiChat, "tools") => (Self::ChatTool, "tools"),
            (Dialect::OpenaiResponses, "input") => (Self::ResponsesItem, "input"),
            (Dialect::OpenaiResponses, "instructions") => (Self::ResponsesItem, "instructions"),
            (Dialect::OpenaiResponses, "tools") => (Self::ResponsesTool, "tools"),
            (Dialect::OpenaiEmbeddings, "input") => (Self::EmbeddingInput, "input"),
            (Dialect::Gemini, "contents") => (Self::GeminiContent, "contents"),
            (Dialect::Gemini, "content") => (Self::GeminiContent, "content"),
            (Dialect::Gemini, "systemInstruction" | "system_instruction") => (Self::GeminiContent, "systemInstruction"),
            (Dialect::Gemini, "tools") => (Self::GeminiTool, "tools"),
            _ => return None,
        })
    }
}

fn anthropic_block(name: &str) -> Step {
    match name {
        "content" => Step::Into(Place::AnthropicBlock),
        "source" => Step::Into(Place::AnthropicSource),
        "type" | "text" | "cache_control" | "citations" | "id" | "name" | "input" | "tool_use_id" | "is_error"
        | "thinking" | "signature" | "data" | "title" | "context" | "caller" => Step::Skip,
        "file_id" => Step::Outside("file_id"),
        _ => Step::Outside("an unknown member of a content block"),
    }
}

fn chat_turn(name: &str) -> Step {
    match name {
        "content" => Step::Into(Place::ChatPart),
        "role" | "name" | "tool_calls" | "tool_call_id" | "function_call" | "refusal" | "reasoning"
        | "reasoning_content" | "annotations" | "prefix" | "partial" | "cache_control" => Step::Skip,
        "audio" => Step::Outside("audio of an earlier answer"),
        _ => Step::Outside("an unknown member of a message"),
    }
}

fn chat_part(name: &str) -> Step {
    match name {
        "image_url" => Step::Into(Place::ImageUrl),
        "type" | "text" | "refusal" | "cache_control" => Step::Skip,
        "input_audio" => Step::Outside("input_audio"),
        "file" => Step::Outside("file"),
        _ => Step::Outside("an unknown member of a content part"),
    }
}

fn responses_item(name: &str) -> Step {
    match name {
        "type" => Step::Note(Note::Kind),
        "encrypted_content" => Step::Note(Note::Encrypted),
        "content" | "output" => Step::Into(Place::ResponsesPart),
        "role" | "id" | "status" | "name" | "arguments" | "input" | "call_id" | "summary" | "phase" => Step::Skip,
        _ => Step::Outside("an unknown member of an item"),
    }
}

fn responses_part(name: &str) -> Step {
    match name {
        "image_url" => Step::Into(Place::ImageUrl),
        "type" | "text" | "refusal" | "annotations" | "logprobs" | "detail" | "filename" => Step::Skip,
        "file_id" => Step::Outside("file_id"),
        "file_url" => Step::Outside("file_url"),
        "file_data" => Step::Outside("file_data"),
        _ => Step::Outside("an unknown member of a content part"),
    }
}

fn gemini_part(name: &str) -> Step {
    match name {
        "inlineData" | "inline_data" => Step::Into(Place::GeminiBlob),
        "functionResponse" | "function_response" => Step::Into(Place::GeminiFunctionResponse),
        "text"
        | "thought"
        | "thoughtSignature"
        | "thought_signature"
        | "functionCall"
        | "function_call"
        | "executableCode"
        | "executable_code"
        | "codeExecutionResult"
        | "code_execution_result"
        | "mediaResolution"
        | "media_resolution" => Step::Skip,
        "fileData" | "file_data" => Step::Outside("fileData"),
        _ => Step::Outside("an unknown member of a part"),
    }
}
