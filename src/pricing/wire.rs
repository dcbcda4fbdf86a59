//! A [`Price`] as JSON or YAML, and its OpenAPI schema.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, Object, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};

use super::card::{Card, Kind};
use super::price::{ContextTier, Price, SERVICE_TIERS, Tiered};
use super::resolve::Applied;

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        put_tiered(&mut map, &self.base)?;
        if self.services.iter().any(Option::is_some) {
            map.serialize_entry("serviceTiers", &Services(self))?;
        }
        if let Some(tokens) = self.max_input_tokens {
            map.serialize_entry("maxInputTokens", &tokens)?;
        }
        if let Some(tokens) = self.max_output_tokens {
            map.serialize_entry("maxOutputTokens", &tokens)?;
        }
        map.end()
    }
}

struct Services<'a>(&'a Price);

impl Serialize for Services<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named = SERVICE_TIERS.iter().zip(&self.0.services);
        serializer.collect_map(named.filter_map(|((_, name), tiered)| Some((name, tiered.as_deref()?))))
    }
}

impl Serialize for Tiered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        put_tiered(&mut map, self)?;
        map.end()
    }
}

impl Serialize for ContextTier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("aboveTokens", &self.above)?;
        put_card(&mut map, &self.card)?;
        map.end()
    }
}

fn put_tiered<M: SerializeMap>(map: &mut M, tiered: &Tiered) -> Result<(), M::Error> {
    put_card(map, &tiered.card)?;
    if tiered.contexts.is_empty() { Ok(()) } else { map.serialize_entry("contextTiers", &tiered.contexts) }
}

fn put_card<M: SerializeMap>(map: &mut M, card: &Card) -> Result<(), M::Error> {
    card.iter().try_for_each(|(kind, femto)| map.serialize_entry(kind.field(), &kind.shown(femto)))
}

impl utoipa::PartialSchema for Price {
    fn schema() -> RefOr<Schema> {
        let mut services = or_null(object("Prices of a service tier; what is left out is the base's"), Type::Object);
        for (_, name) in SERVICE_TIERS {
            services =
                services.property(name, or_null(tiered_schema(object("Prices of this service tier")), Type::Object));
        }
        tiered_schema(object(
            "Prices of a model in USD. A cache price left out follows from the input price: 1.25x for a write of 5 \
             minutes, 2x for one of an hour, 0.1x for a read. inputUsdPerMillion or requestUsd must be given; null is \
             as if left out",
        ))
        .property("serviceTiers", services)
        .property("maxInputTokens", or_null(tokens("The most input tokens that the model takes").into(), Type::Integer))
        .property(
            "maxOutputTokens",
            or_null(tokens("The most output tokens that the model gives").into(), Type::Integer),
        )
        .into()
    }
}

impl utoipa::ToSchema for Price {}

impl utoipa::PartialSchema for Applied {
    fn schema() -> RefOr<Schema> {
        let tiers = std::iter::once("standard").chain(SERVICE_TIERS.map(|(_, name)| name));
        let tier = ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).enum_values(Some(tiers));
        let above = tokens("The highest context threshold that decided a rate; null when all are flat");
        let above = or_null(above.into(), Type::Integer);
        object("The price that was applied to a request")
            .property("serviceTier", tier)
            .property("contextAboveTokens", above)
            .property("rates", card_schema(object("The rates that applied"), |rate| rate))
            .into()
    }
}

impl utoipa::ToSchema for Applied {}

/// What may be written as `null`, too.
fn or_null(schema: ObjectBuilder, kind: Type) -> ObjectBuilder {
    schema.schema_type(SchemaType::from_iter([kind, Type::Null]))
}

fn object(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::Object))
        .description(Some(description))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

fn tiered_schema(object: ObjectBuilder) -> ObjectBuilder {
    let or_absent = |rate| or_null(rate, Type::Number);
    let tier = self::object("Prices of requests with a longer input; the whole request is priced here");
    let tier = card_schema(tier, or_absent)
        .property("aboveTokens", tokens("Applies to an input of more tokens than this"))
        .required("aboveTokens");
    let tiers = ArrayBuilder::new().schema_type(SchemaType::from_iter([Type::Array, Type::Null])).items(tier);
    card_schema(object, or_absent).property("contextTiers", tiers)
}

fn card_schema(object: ObjectBuilder, finished: impl Fn(ObjectBuilder) -> ObjectBuilder) -> ObjectBuilder {
    Kind::ALL.into_iter().fold(object, |object, kind| {
        let description =
            if kind.is_tokens() { "USD per million tokens, up to 6 decimals" } else { "USD, up to 9 decimals" };
        let price = ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::Number))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Double)))
            .description(Some(description))
            .minimum(Some(0));
        object.property(kind.field(), finished(price))
    })
}

fn tokens(description: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::Integer))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .description(Some(description))
        .minimum(Some(1))
        .build()
}
