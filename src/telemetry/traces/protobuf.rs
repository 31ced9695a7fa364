//! Encoding of spans as OTLP: the Protocol Buffers message `ExportTraceServiceRequest` of OpenTelemetry.
//!
//! Only the messages and fields that Larder sends are here, with the numbers of `opentelemetry-proto`.

use std::collections::BTreeMap;

use super::span::{AttributeValue, FinishedSpan};

/// Wire types of Protocol Buffers.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

/// Status of a span that failed.
const STATUS_ERROR: u64 = 2;
/// Flags of a span: recorded, and it is known whether the parent is in another process.
const FLAGS: u32 = 0x101;
/// Flag of a span whose parent is in another process.
const PARENT_IS_REMOTE: u32 = 0x200;

/// Encodes `spans` of the process with the attributes `resource`.
pub(super) fn request(resource: &BTreeMap<String, String>, spans: &[FinishedSpan]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |message| {
            for (key, value) in resource {
                message.message(1, |pair| pair.attribute(key, |any| any.bytes(1, value.as_bytes())));
            }
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.bytes(1, b"larder");
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            for span in spans {
                scope_spans.message(2, |message| message.span(span));
            }
        });
    });
    request.0
}

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn number(&mut self, field: u32, number: u64) {
        self.tag(field, VARINT);
        self.varint(number);
    }

    fn fixed64(&mut self, field: u32, number: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// Writes the fields of a `KeyValue`.
    fn attribute(&mut self, key: &str, value: impl FnOnce(&mut Self)) {
        self.bytes(1, key.as_bytes());
        self.message(2, value);
    }

    /// Writes the fields of a `Span`.
    fn span(&mut self, span: &FinishedSpan) {
        self.bytes(1, &span.context.trace_id.0.to_be_bytes());
        self.bytes(2, &span.context.span_id.to_be_bytes());
        let mut flags = FLAGS;
        if let Some(parent) = &span.parent {
            self.bytes(4, &parent.span_id.to_be_bytes());
            flags |= if parent.is_remote { PARENT_IS_REMOTE } else { 0 };
        }
        self.bytes(5, span.name.as_bytes());
        self.number(6, span.kind as u64);
        self.fixed64(7, span.start);
        self.fixed64(8, span.end);
        for (key, value) in &span.attributes {
            self.message(9, |pair| {
                pair.attribute(key, |any| match value {
                    AttributeValue::Text(text) => any.bytes(1, text.as_bytes()),
                    AttributeValue::Number(number) => any.number(3, *number),
                });
            });
        }
        if span.has_failed {
            self.message(15, |status| status.number(3, STATUS_ERROR));
        }
        self.tag(16, FIXED32);
        self.0.extend_from_slice(&flags.to_le_bytes());
    }
}
