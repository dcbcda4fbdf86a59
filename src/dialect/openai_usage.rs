//! What the OpenAI dialects have in common: totals that include their parts, taken apart so that every token is in one
//! place.

use super::Usage;

/// The numbers of one `usage` object as providers send them; absent ones are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// `prompt_tokens`, `input_tokens`: with everything that was read from a cache.
    pub prompt: u64,
    /// `completion_tokens`, `output_tokens`.
    pub completion: u64,
    /// `total_tokens`; tells what the other two leave out.
    pub total: u64,
    /// Of the prompt: read from a cache.
    pub cached: u64,
    /// Of the prompt: written to a cache.
    pub cache_write: u64,
    /// Of the prompt: audio.
    pub input_audio: u64,
    /// Of the prompt: images.
    pub input_image: u64,
    /// Of the completion: reasoning.
    pub reasoning: u64,
    /// Of the completion: audio.
    pub output_audio: u64,
    /// Of the completion: images.
    pub output_image: u64,
}

impl Totals {
    /// Takes the totals apart.
    ///
    /// By OpenAI's rule prompt and completion include their parts. Some providers leave parts out, which shows in
    /// `total_tokens`: xAI counts reasoning beside the completion, Google's compatible endpoint leaves it unnamed,
    /// and some proxies count cached tokens beside the prompt.
    pub fn usage(self) -> Usage {
        let unexplained = self.total.saturating_sub(self.prompt.saturating_add(self.completion));
        let from_cache = self.cached.saturating_add(self.cache_write);
        let both = unexplained == self.reasoning.saturating_add(from_cache);
        let is_reasoning = self.reasoning > 0 && unexplained == self.reasoning;
        let reasoning_beside = self.reasoning > 0 && (both || is_reasoning || self.reasoning > self.completion);
        let cache_beside = from_cache > 0 && unexplained > 0 && !is_reasoning && (both || unexplained == from_cache);
        let unnamed = if self.reasoning == 0 && !cache_beside { unexplained } else { 0 };

        let prompt = if cache_beside { self.prompt } else { self.prompt.saturating_sub(from_cache) };
        let input_audio = self.input_audio.min(prompt);
        let input_image = self.input_image.min(prompt - input_audio);
        let completion =
            if reasoning_beside { self.completion } else { self.completion.saturating_sub(self.reasoning) };
        let output_audio = self.output_audio.min(completion);
        let output_image = self.output_image.min(completion - output_audio);
        Usage {
            input: prompt - input_audio - input_image,
            output: completion - output_audio - output_image,
            cache_read: self.cached,
            cache_write_5m: self.cache_write,
            reasoning: self.reasoning.saturating_add(unnamed),
            input_audio,
            input_image,
            output_audio,
            output_image,
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests;
