//! The messages of version 3, by gnostic's field numbers.

use super::Kind::{Any, Anys, Double, Either, Eithers, Flag, Named, NamedEither, One, Text, Texts, Whole};
use super::{EXTERNAL_DOCS, Kind, Message};

static SCHEMA: Message = Message {
    fields: &[
        ("nullable", 1, Flag),
        ("readOnly", 3, Flag),
        ("writeOnly", 4, Flag),
        ("externalDocs", 6, One(&EXTERNAL_DOCS)),
        ("example", 7, Any),
        ("deprecated", 8, Flag),
        ("title", 9, Text),
        ("multipleOf", 10, Double),
        ("maximum", 11, Double),
        ("exclusiveMaximum", 12, Flag),
        ("minimum", 13, Double),
        ("exclusiveMinimum", 14, Flag),
        ("maxLength", 15, Whole),
        ("minLength", 16, Whole),
        ("pattern", 17, Text),
        ("maxItems", 18, Whole),
        ("minItems", 19, Whole),
        ("uniqueItems", 20, Flag),
        ("maxProperties", 21, Whole),
        ("minProperties", 22, Whole),
        ("required", 23, Texts),
        ("enum", 24, Anys),
        ("type", 25, Text),
        ("allOf", 26, Eithers(&SCHEMA)),
        ("oneOf", 27, Eithers(&SCHEMA)),
        ("anyOf", 28, Eithers(&SCHEMA)),
        ("not", 29, One(&SCHEMA)),
        ("items", 30, Kind::EitherItems(&SCHEMA)),
        ("properties", 31, NamedEither(&SCHEMA, 1)),
        ("additionalProperties", 32, Kind::EitherOrFlag(&SCHEMA)),
        ("default", 33, Kind::Scalar),
        ("description", 34, Text),
        ("format", 35, Text),
    ],
    extensions: 36,
};

static INFO: Message = Message {
    fields: &[("title", 1, Text), ("description", 2, Text), ("termsOfService", 3, Text), ("version", 6, Text)],
    extensions: 7,
};

static MEDIA_TYPE: Message = Message { fields: &[("schema", 1, Either(&SCHEMA)), ("example", 2, Any)], extensions: 5 };

static PARAMETER: Message = Message {
    fields: &[
        ("name", 1, Text),
        ("in", 2, Text),
        ("description", 3, Text),
        ("required", 4, Flag),
        ("deprecated", 5, Flag),
        ("allowEmptyValue", 6, Flag),
        ("style", 7, Text),
        ("explode", 8, Flag),
        ("allowReserved", 9, Flag),
        ("schema", 10, Either(&SCHEMA)),
        ("example", 11, Any),
    ],
    extensions: 14,
};

static REQUEST_BODY: Message = Message {
    fields: &[("description", 1, Text), ("content", 2, Named(&MEDIA_TYPE)), ("required", 3, Flag)],
    extensions: 4,
};

static RESPONSE: Message =
    Message { fields: &[("description", 1, Text), ("content", 3, Named(&MEDIA_TYPE))], extensions: 5 };

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Texts),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("externalDocs", 4, One(&EXTERNAL_DOCS)),
        ("operationId", 5, Text),
        ("parameters", 6, Eithers(&PARAMETER)),
        ("requestBody", 7, Either(&REQUEST_BODY)),
        ("responses", 8, NamedEither(&RESPONSE, 2)),
        ("deprecated", 10, Flag),
        ("security", 11, Kind::Requirements),
    ],
    extensions: 13,
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("get", 4, One(&OPERATION)),
        ("put", 5, One(&OPERATION)),
        ("post", 6, One(&OPERATION)),
        ("delete", 7, One(&OPERATION)),
        ("options", 8, One(&OPERATION)),
        ("head", 9, One(&OPERATION)),
        ("patch", 10, One(&OPERATION)),
        ("parameters", 13, Eithers(&PARAMETER)),
    ],
    extensions: 14,
};

static SECURITY_SCHEME: Message = Message {
    fields: &[
        ("type", 1, Text),
        ("description", 2, Text),
        ("name", 3, Text),
        ("in", 4, Text),
        ("scheme", 5, Text),
        ("bearerFormat", 6, Text),
    ],
    extensions: 9,
};

static COMPONENTS: Message = Message {
    fields: &[
        ("schemas", 1, NamedEither(&SCHEMA, 1)),
        ("responses", 2, NamedEither(&RESPONSE, 1)),
        ("parameters", 3, NamedEither(&PARAMETER, 1)),
        ("securitySchemes", 7, NamedEither(&SECURITY_SCHEME, 1)),
    ],
    extensions: 10,
};

pub(super) static DOCUMENT: Message = Message {
    fields: &[
        ("openapi", 1, Text),
        ("info", 2, One(&INFO)),
        ("paths", 4, Kind::Paths(1, &PATH_ITEM)),
        ("components", 5, One(&COMPONENTS)),
        ("security", 6, Kind::Requirements),
        ("externalDocs", 8, One(&EXTERNAL_DOCS)),
    ],
    extensions: 9,
};
