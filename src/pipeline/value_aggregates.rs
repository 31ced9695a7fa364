//! The SQL aggregates `most_frequent(value, weight)` and `distinct_count(value)`.
//!
//! `most_frequent` is the most frequent value of a group; of equally frequent ones that with the greatest sum
//! of weights, then the least. `distinct_count` is the number of distinct values, as `COUNT(DISTINCT …)` is.
//! Grouped by customer, both need the memory of few customers, and no second step that groups by value.

use std::{cmp::Reverse, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, ListArray, StringArray},
    buffer::OffsetBuffer,
    compute::cast,
    datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type},
};
use datafusion::{
    common::ScalarValue,
    error::{DataFusionError, Result},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};

#[cfg(test)]
mod aggregates_test;
mod group_counts;

use group_counts::{Entry, GroupCounts, Texts};

/// Type of the sums of weights in the state.
const WEIGHT: DataType = DataType::Decimal128(38, 0);

/// Returns the SQL aggregate `most_frequent`.
pub(super) fn most_frequent() -> AggregateUDF {
    AggregateUDF::from(ValueAggregate::new(Answer::MostFrequent))
}

/// Returns the SQL aggregate `distinct_count`.
pub(super) fn distinct_count() -> AggregateUDF {
    AggregateUDF::from(ValueAggregate::new(Answer::DistinctCount))
}

/// The answer of an aggregate over the values of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    MostFrequent,
    DistinctCount,
}

impl Answer {
    fn name(self) -> &'static str {
        match self {
            Self::MostFrequent => "most_frequent",
            Self::DistinctCount => "distinct_count",
        }
    }

    /// Number of arguments.
    fn arguments(self) -> usize {
        match self {
            Self::MostFrequent => 2,
            Self::DistinctCount => 1,
        }
    }
}

/// An aggregate over the values of a group.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ValueAggregate {
    answer: Answer,
    signature: Signature,
}

impl ValueAggregate {
    fn new(answer: Answer) -> Self {
        Self { answer, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn groups(&self, arguments: &AccumulatorArgs<'_>) -> Result<ValueGroups> {
        let value = arguments.expr_fields.first().map(|field| field.data_type().clone());
        let value = value.ok_or_else(|| plan_error(self.answer, "needs a value"))?;
        let counts = GroupCounts::new(value == DataType::Utf8);
        Ok(ValueGroups { answer: self.answer, value, counts })
    }
}

/// Returns the type that values of the given type are read as, or `None` if they are no texts or integers.
fn value_type(given: &DataType) -> Option<DataType> {
    match given {
        DataType::UInt64 => None,
        integer if integer.is_integer() => Some(integer.clone()),
        text if text.is_string() => Some(DataType::Utf8),
        _ => None,
    }
}

/// Returns the type that weights of the given type are read as, or `None` if they are no numbers of a fixed
/// scale.
fn weight_type(given: &DataType) -> Option<DataType> {
    match given {
        integer if integer.is_integer() => Some(DataType::Int64),
        DataType::Decimal128(..) => Some(given.clone()),
        _ => None,
    }
}

impl AggregateUDFImpl for ValueAggregate {
    fn name(&self) -> &str {
        self.answer.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if types.len() != self.answer.arguments() {
            let needed = self.answer.arguments();
            return Err(plan_error(self.answer, &format!("needs {needed} argument(s), not {}", types.len())));
        }
        let read_as = |(place, data_type)| {
            let (coerced, needed) = match place {
                0 => (value_type(data_type), "a text or an integer"),
                _ => (weight_type(data_type), "an integer or a decimal as weight"),
            };
            coerced.ok_or_else(|| plan_error(self.answer, &format!("needs {needed}, not {data_type}")))
        };
        types.iter().enumerate().map(read_as).collect()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match self.answer {
            Answer::MostFrequent => Ok(types[0].clone()),
            Answer::DistinctCount => Ok(DataType::Int64),
        }
    }

    fn is_nullable(&self) -> bool {
        self.answer == Answer::MostFrequent
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        match self.answer {
            Answer::MostFrequent => ScalarValue::try_from(data_type),
            Answer::DistinctCount => Ok(ScalarValue::Int64(Some(0))),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let is_text =
            arguments.input_fields.first().is_some_and(|field| *field.data_type() == DataType::Utf8);
        let value = if is_text { DataType::Utf8 } else { DataType::Int64 };
        let field = |(name, item): (&str, DataType)| -> FieldRef {
            let list = DataType::List(Arc::new(Field::new_list_field(item, true)));
            Arc::new(Field::new(format!("{}[{name}]", arguments.name), list, true))
        };
        Ok([("values", value), ("rows", DataType::Int64), ("weights", WEIGHT)].map(field).into())
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneGroup(self.groups(&arguments)?)))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(self.groups(&arguments)?))
    }
}

fn plan_error(answer: Answer, why: &str) -> DataFusionError {
    DataFusionError::Plan(format!("{} {why}", answer.name()))
}

/// The values of all groups.
#[derive(Debug)]
struct ValueGroups {
    answer: Answer,
    /// Type of the values.
    value: DataType,
    counts: GroupCounts,
}

impl ValueGroups {
    /// Returns the values in the type in which they are counted.
    fn counted(&self, values: &ArrayRef) -> Result<ArrayRef> {
        if self.value == DataType::Utf8 {
            Ok(Arc::clone(values))
        } else {
            Ok(cast(values, &DataType::Int64)?)
        }
    }
}

/// Returns the most frequent value of the `entries` of a group.
fn best<'a>(texts: Option<&Texts>, entries: &'a [Entry]) -> Option<&'a Entry> {
    entries.iter().max_by(|a, b| {
        let most = (a.rows, a.weight).cmp(&(b.rows, b.weight));
        most.then_with(|| match texts {
            Some(texts) => Reverse(texts.text(a.value)).cmp(&Reverse(texts.text(b.value))),
            None => Reverse(a.value).cmp(&Reverse(b.value)),
        })
    })
}

/// Returns the number of groups to emit; `None` for all.
fn first(emit_to: EmitTo) -> Option<usize> {
    match emit_to {
        EmitTo::All => None,
        EmitTo::First(count) => Some(count),
    }
}

impl GroupsAccumulator for ValueGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let counted = self.counted(&values[0])?;
        self.counts.count(&counted, values.get(1), group_indices, opt_filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let first = first(emit_to);
        if self.answer == Answer::DistinctCount {
            let mut counts = Vec::new();
            self.counts
                .take(first, |_, entries| counts.push(i64::try_from(entries.len()).unwrap_or(i64::MAX)));
            return Ok(Arc::new(Int64Array::from(counts)));
        }
        if self.counts.texts.is_some() {
            let mut texts: Vec<Option<String>> = Vec::new();
            self.counts.take(first, |known, entries| {
                let text = |best: &Entry| known.map_or("", |known| known.text(best.value)).to_owned();
                texts.push(best(known, entries).map(text));
            });
            return Ok(Arc::new(StringArray::from(texts)));
        }
        let mut integers = Vec::new();
        self.counts.take(first, |_, entries| integers.push(best(None, entries).map(|best| best.value)));
        Ok(cast(&Int64Array::from(integers), &self.value)?)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (mut lengths, mut all, mut texts) = (Vec::new(), Vec::<Entry>::new(), Vec::<String>::new());
        self.counts.take(first(emit_to), |known, entries| {
            lengths.push(entries.len());
            all.extend(entries);
            texts.extend(entries.iter().filter_map(|entry| Some(known?.text(entry.value).to_owned())));
        });
        let values: ArrayRef = if self.counts.texts.is_some() {
            Arc::new(StringArray::from(texts))
        } else {
            Arc::new(all.iter().map(|entry| Some(entry.value)).collect::<Int64Array>())
        };
        let rows: ArrayRef = Arc::new(all.iter().map(|entry| Some(entry.rows)).collect::<Int64Array>());
        let weights = all.iter().map(|entry| Some(entry.weight)).collect::<Decimal128Array>();
        let list = |items: ArrayRef| -> ArrayRef {
            let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
            let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
            Arc::new(ListArray::new(field, offsets, items, None))
        };
        Ok(vec![list(values), list(rows), list(Arc::new(weights.with_data_type(WEIGHT)))])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        let [lists, rows, weights] = values else {
            return Err(DataFusionError::Internal("three columns of state are needed".to_owned()));
        };
        for (at, group) in group_indices.iter().enumerate() {
            let items = lists.as_list::<i32>().value(at);
            let (rows, weights) = (rows.as_list::<i32>().value(at), weights.as_list::<i32>().value(at));
            let (rows, weights) =
                (rows.as_primitive::<Int64Type>(), weights.as_primitive::<Decimal128Type>());
            let entries = (0..items.len()).map(|item| {
                let (rows, weight) = (rows.value(item), weights.value(item));
                (item, Entry { group: *group, value: 0, rows, weight })
            });
            self.counts.add(&items, entries, total_num_groups)?;
        }
        Ok(())
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let (rows, counts) = (values[0].len(), GroupCounts::new(self.counts.texts.is_some()));
        let mut each = Self { answer: self.answer, value: self.value.clone(), counts };
        each.update_batch(values, &(0..rows).collect::<Vec<_>>(), opt_filter, rows)?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.counts.bytes()
    }
}

/// The values of a single group.
#[derive(Debug)]
struct OneGroup(ValueGroups);

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.0.evaluate(EmitTo::First(1))?, 0)
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.state(EmitTo::First(1))?.iter().map(|state| ScalarValue::try_from_array(state, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states, &vec![0; states[0].len()], 1)
    }
}
