//! OpenAPI schemas of types whose JSON form is a string with its own rules.

use utoipa::openapi::{
    ObjectBuilder, RefOr,
    schema::{Schema, Type},
};

/// A string that matches a regular expression.
pub fn text(pattern: &str, example: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .examples([example])
        .into()
}

/// Gives a type the schema of a string: its pattern and an example.
#[macro_export]
macro_rules! text_schema {
    ($type:ty, $pattern:expr, $example:expr) => {
        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::domain::schema::text($pattern, $example)
            }
        }

        impl utoipa::ToSchema for $type {}
    };
}
