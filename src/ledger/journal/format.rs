//! How a place looks on disk: the request that was admitted into it and, later, its record.
//!
//! ```text
//! place (2 048 bytes):  opening (768)  |  ending (1 280)
//! part:                 checksum 8, kind 1, version 1, length 2, zeros 4, then a postcard-encoded body
//! ```
//!
//! The checksum covers everything in the part, and where it stands: what was written elsewhere, by another process or
//! into another place, is not taken for this one's. It is SipHash-1-3 with a key of the file's own, because names that
//! clients choose are in the bodies: nobody outside can make up a part that passes.

use std::borrow::Cow;
use std::hash::Hasher as _;

use serde::Serialize;
use siphasher::sip::SipHasher13;
use uuid::Uuid;

use super::stored::{StoredEnding, StoredOpening};
use crate::dialect::Dialect;
use crate::ledger::LedgerRecord;
use crate::money::Usd;

/// Bytes of a place. It divides a page, so that the death of the process never leaves half a write.
pub(super) const PLACE: usize = 2_048;
/// Bytes of the first part.
pub(super) const OPENING: usize = 768;
/// Bytes of the second.
pub(super) const ENDING: usize = PLACE - OPENING;

const HEADER: usize = 16;
/// Bodies of another version are not read.
const VERSION: u8 = 1;

const OPENED: u8 = 1;
const ENDED: u8 = 2;
/// As [`OPENED`], of an attempt that has lost a race.
const LOST: u8 = 3;

/// A request that is about to be sent to a provider: what its row will say if nothing else is ever heard of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest<'a> {
    /// What the client sees in `x-tollgate-request-id`.
    pub request_id: Uuid,
    /// 1 for the first.
    pub attempt: u16,
    /// When the request arrived, Unix milliseconds.
    pub created_at: i64,
    /// Who pays.
    pub user_id: i64,
    /// The key that was used.
    pub key_id: i64,
    /// Name of the provider.
    pub provider: Cow<'a, str>,
    /// Wire format.
    pub dialect: Dialect,
    /// The model that the client named.
    pub requested_model: Cow<'a, str>,
    /// The model that is sent upstream.
    pub served_model: Cow<'a, str>,
    /// The model group of the served model.
    pub model_group_id: Option<i64>,
    /// What it is expected to cost.
    pub estimate: Usd,
    /// Whether it counts in the mainline budget of the user.
    pub counted_in_user_global: bool,
    /// Whether it counts in the mainline budget of the key.
    pub counted_in_key_global: bool,
    /// How often the user's spend had been reset.
    pub user_era: i64,
    /// The same of the key.
    pub key_era: i64,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Another attempt of the request has won the race, and this one has to be paid for beside it.
    pub has_lost: bool,
}

/// What a place holds.
#[derive(Debug)]
pub enum Found {
    /// Nothing that counts.
    Nothing,
    /// A request whose end is not known.
    Open {
        /// The request.
        request: OpenRequest<'static>,
        /// There was an end, which cannot be read.
        damaged: bool,
    },
    /// A record under its number.
    Ended(u64, Box<LedgerRecord>),
    /// Something that cannot be read.
    Damaged,
}

/// Makes and checks the checksums of one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal(pub(super) [u8; 16]);

impl Seal {
    fn checksum(&self, index: u32, header: &[u8], body: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write_u32(index);
        hasher.write(header);
        hasher.write(body);
        hasher.finish()
    }

    /// Writes header and body; the rest stays as it is.
    pub(super) fn close(&self, part: &mut [u8], index: u32, kind: u8, length: usize) {
        part[8] = kind;
        part[9] = VERSION;
        // Parts are far smaller than what two bytes can count.
        part[10..12].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        part[12..HEADER].fill(0);
        let (header, body) = part.split_at(HEADER);
        let checksum = self.checksum(index, &header[8..], &body[..length]);
        part[..8].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// A whole place with an opening and no ending.
pub(super) fn opening(seal: &Seal, index: u32, request: &OpenRequest<'_>) -> Option<[u8; PLACE]> {
    let mut place = [0; PLACE];
    let length = encode(&StoredOpening::from(request), &mut place[HEADER..OPENING])?;
    let kind = if request.has_lost { LOST } else { OPENED };
    seal.close(&mut place[..OPENING], index, kind, length);
    Some(place)
}

/// The second part with a record. What of its attempts and price has no room is left out: the money is not.
pub(super) fn ending(seal: &Seal, index: u32, lsn: u64, record: &LedgerRecord) -> Option<([u8; ENDING], usize)> {
    let mut part = [0; ENDING];
    let mut stored = StoredEnding::new(lsn, record);
    let length = loop {
        if let Some(length) = encode(&stored, &mut part[HEADER..]) {
            break length;
        }
        if stored.attempts.len() > 1 {
            // The last ones are those that were charged.
            stored.attempts.drain(..stored.attempts.len().div_ceil(2));
        } else if !stored.attempts.is_empty() {
            stored.attempts.clear();
        } else {
            stored.price.take()?;
        }
    };
    seal.close(&mut part, index, ENDED, length);
    Some((part, HEADER + length))
}

/// What is written over the beginning of a place to say that nothing came of the request. Also where only some sectors
/// of what is written next get to the disk, the request does not come back.
pub(super) const VOID: [u8; HEADER] = [0; HEADER];

/// Reads a place. Any bytes are an answer.
pub(super) fn read(seal: &Seal, index: u32, place: &[u8; PLACE]) -> Found {
    let (opening, ending) = place.split_at(OPENING);
    let damaged = match part(seal, index, ending) {
        Part::Empty => false,
        Part::Whole(ENDED, body) => {
            match postcard::from_bytes::<StoredEnding<'_>>(body).ok().and_then(|s| s.record()) {
                Some((lsn, record)) => return Found::Ended(lsn, Box::new(record)),
                None => true,
            }
        }
        Part::Whole(..) | Part::Damaged => true,
    };
    match part(seal, index, opening) {
        Part::Empty if !damaged => Found::Nothing,
        Part::Whole(kind @ (OPENED | LOST), body) => {
            match postcard::from_bytes::<StoredOpening<'_>>(body).ok().and_then(|stored| stored.request()) {
                Some(request) => Found::Open { request: OpenRequest { has_lost: kind == LOST, ..request }, damaged },
                None => Found::Damaged,
            }
        }
        _ => Found::Damaged,
    }
}

enum Part<'a> {
    Empty,
    Whole(u8, &'a [u8]),
    Damaged,
}

fn part<'a>(seal: &Seal, index: u32, part: &'a [u8]) -> Part<'a> {
    let (header, body) = part.split_at(HEADER);
    if header.iter().all(|byte| *byte == 0) {
        return Part::Empty;
    }
    let length = usize::from(u16::from_le_bytes([header[10], header[11]]));
    let Some(body) = body.get(..length) else { return Part::Damaged };
    let checksum = seal.checksum(index, &header[8..], body).to_le_bytes();
    if checksum != header[..8] || header[9] != VERSION {
        return Part::Damaged;
    }
    Part::Whole(header[8], body)
}

fn encode(value: &impl Serialize, into: &mut [u8]) -> Option<usize> {
    postcard::to_slice(value, into).ok().map(|written| written.len())
}
