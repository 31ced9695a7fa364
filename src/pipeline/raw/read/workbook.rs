//! Reader of workbooks: the sheets with the header of the first one, or those that the configuration names.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use calamine::{DataRef, Reader, SheetType, Xlsx};

use super::{
    archive::spool,
    layout::Layout,
    reader::{FileReader, unreadable},
};
use crate::{
    feature::trim,
    pipeline::raw::{
        check::{ExtraField, FieldKinds, LineError},
        error::RawError,
        header::{ColumnPlaces, Header},
        table::RawType,
    },
    snapshot::Warning,
};

type Workbook = Xlsx<BufReader<File>>;

/// A cell with a value.
#[derive(Debug, Clone, Default)]
struct CellText {
    text: String,
    kind: Option<RawType>,
}

/// A row with at least one value.
#[derive(Debug)]
struct Row {
    /// Number of the row, from 1.
    number: u64,
    cells: Vec<CellText>,
}

/// The rows of a sheet.
struct Rows<'a> {
    cells: calamine::XlsxCellReader<'a, BufReader<File>>,
    /// First cell of the next row: row, column, value.
    next: Option<(u32, u32, CellText)>,
}

impl<'a> Rows<'a> {
    fn new(workbook: &'a mut Workbook, sheet: &str) -> Result<Self, calamine::XlsxError> {
        let mut rows = Self { cells: workbook.worksheet_cells_reader(sheet)?, next: None };
        rows.next = rows.cell()?;
        Ok(rows)
    }

    /// Returns the next cell with a value.
    fn cell(&mut self) -> Result<Option<(u32, u32, CellText)>, calamine::XlsxError> {
        while let Some(cell) = self.cells.next_cell()? {
            let text = cell_text(cell.get_value());
            if !text.text.trim().is_empty() {
                let (row, column) = cell.get_position();
                return Ok(Some((row, column, text)));
            }
        }
        Ok(None)
    }

    /// Returns the next row with a value.
    fn row(&mut self) -> Result<Option<Row>, calamine::XlsxError> {
        let Some((at, column, cell)) = self.next.take() else { return Ok(None) };
        let mut row = Row { number: u64::from(at) + 1, cells: Vec::new() };
        let mut put = |column: u32, cell: CellText| {
            let column = column as usize;
            if row.cells.len() <= column {
                row.cells.resize(column + 1, CellText::default());
            }
            row.cells[column] = cell;
        };
        put(column, cell);
        while let Some((other, column, cell)) = self.cell()? {
            if other != at {
                self.next = Some((other, column, cell));
                break;
            }
            put(column, cell);
        }
        Ok(Some(row))
    }
}

fn cell_text(value: &DataRef<'_>) -> CellText {
    let (text, kind) = match value {
        DataRef::Int(number) => (number.to_string(), RawType::Integer),
        // The shortest text of the double: 2.55 is stored as 2.5499999999999998.
        DataRef::Float(number) if number.fract() == 0.0 => (number.to_string(), RawType::Integer),
        DataRef::Float(number) => (number.to_string(), RawType::Number),
        DataRef::String(text) | DataRef::DurationIso(text) => (text.clone(), RawType::Text),
        DataRef::SharedString(text) => ((*text).to_owned(), RawType::Text),
        DataRef::Bool(value) => (value.to_string(), RawType::Boolean),
        DataRef::DateTime(time) if time.is_datetime() => {
            let (year, month, day, hour, minute, second, millisecond) = time.to_ymd_hms_milli();
            let date = format!("{year:04}-{month:02}-{day:02}");
            match (hour, minute, second, millisecond) {
                (0, 0, 0, 0) => (date, RawType::Date),
                (_, _, _, 0) => (format!("{date}T{hour:02}:{minute:02}:{second:02}"), RawType::Timestamp),
                _ => {
                    (format!("{date}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}"), RawType::Timestamp)
                }
            }
        }
        DataRef::DateTime(duration) => (duration.as_f64().to_string(), RawType::Number),
        DataRef::DateTimeIso(text) => (text.clone(), RawType::Timestamp),
        DataRef::Error(error) => (error.to_string(), RawType::Text),
        DataRef::Empty => return CellText::default(),
    };
    CellText { text, kind: Some(kind) }
}

/// Returns the names of the sheets of `workbook`.
fn sheet_names(workbook: &Workbook) -> Vec<String> {
    let sheets = workbook.sheets_metadata().iter().filter(|sheet| sheet.typ == SheetType::WorkSheet);
    sheets.map(|sheet| sheet.name.clone()).collect()
}

/// Opens the workbook `source`, of which it makes a copy in the folder `scratch`.
fn open(source: &mut dyn Read, scratch: &Path) -> io::Result<Workbook> {
    let spooled = spool(source, scratch)?;
    Workbook::new(BufReader::with_capacity(1 << 16, spooled)).map_err(not_readable)
}

fn not_readable(error: calamine::XlsxError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Calls `each` with name and rows of each sheet of the workbook `source`, at most `most` of a sheet: the
/// numbers of the rows and the texts of their cells.
pub(crate) fn for_each_sheet(
    source: &mut dyn Read,
    scratch: &Path,
    most: usize,
    mut each: impl FnMut(&str, Vec<(u64, Vec<String>)>),
) -> io::Result<()> {
    let mut workbook = open(source, scratch)?;
    for sheet in sheet_names(&workbook) {
        let mut rows = Rows::new(&mut workbook, &sheet).map_err(not_readable)?;
        let mut all = Vec::new();
        while all.len() < most
            && let Some(row) = rows.row().map_err(not_readable)?
        {
            all.push((row.number, row.cells.into_iter().map(|cell| cell.text).collect()));
        }
        each(&sheet, all);
    }
    Ok(())
}

impl FileReader<'_> {
    /// Reads the sheets of a workbook.
    pub(super) fn read_workbook(&mut self, source: &mut dyn Read, scratch: &Path) -> Result<(), RawError> {
        let file = self.file.clone();
        let wrong = |why: &dyn std::fmt::Display| unreadable(&file, 0, why);
        let opened = open(source, scratch);
        let mut workbook = opened.map_err(|error| wrong(&format!("it is not a workbook: {error}")))?;
        let sheets = sheet_names(&workbook);
        let chosen = &self.spec.sheets;
        if let Some(missing) = chosen.iter().find(|name| !sheets.contains(name)) {
            return Err(wrong(&format!(
                "there is no sheet `{missing}`; its sheets are {}",
                sheets.join(", ")
            )));
        }
        let is_chosen = |name: &&String| chosen.is_empty() || chosen.contains(name);
        let (mut first, mut skipped) = (None, Vec::new());
        for sheet in sheets.iter().filter(is_chosen) {
            if sheets.len() > 1 {
                self.file = Cow::Owned(format!("{file}, sheet {sheet}"));
            }
            let mut rows =
                Rows::new(&mut workbook, sheet).map_err(|error| unreadable(&self.file, 0, &error))?;
            self.begin();
            let Some(header) = self.sheet_header(&mut rows)? else { continue };
            if chosen.is_empty() && first.as_ref().is_some_and(|first| *first != header) {
                skipped.push(sheet.as_str());
                continue;
            }
            self.read_sheet(rows, &header)?;
            first.get_or_insert(header);
        }
        self.file = file.clone();
        if first.is_none() {
            return Err(wrong(&"it is empty; expected a header"));
        }
        if !skipped.is_empty() {
            let message = format!(
                "sheets of {file} with other columns than the first are not read: {}; name those to read in \
                 `sheets` of [raw.{}]",
                skipped.join(", "),
                self.spec.table.name()
            );
            self.warnings.push(Warning::new("skipped_sheets", message));
        }
        Ok(())
    }

    /// Returns the column names of a sheet, or `None` for an empty sheet.
    fn sheet_header(&self, rows: &mut Rows<'_>) -> Result<Option<Vec<String>>, RawError> {
        loop {
            let row = rows.row().map_err(|error| unreadable(&self.file, 0, &error))?;
            match row {
                None => return Ok(None),
                Some(row) if row.number <= self.spec.skip as u64 => {}
                Some(row) => {
                    return Ok(Some(row.cells.iter().map(|cell| trim(&cell.text).to_owned()).collect()));
                }
            }
        }
    }

    fn read_sheet(&mut self, mut rows: Rows<'_>, header: &[String]) -> Result<(), RawError> {
        let mut names = header.to_vec();
        self.add_folder_columns(&mut names);
        let columns = Header { file: &self.file, spec: self.spec, names: &names }.columns()?;
        let layout = Layout::new(self.spec, &columns, header.len(), self.folder_columns);
        self.note_layout(&columns);
        loop {
            let row = rows.row().map_err(|error| unreadable(&self.file, self.at, &error))?;
            let Some(mut row) = row else { break };
            self.at = row.number;
            if row.cells.len() > header.len() {
                let cause = "a value in a column without a header".to_owned();
                let found = format!("found a value in column {} of {}", row.cells.len(), header.len());
                self.bad(LineError { cause, found }, 1)?;
                continue;
            }
            row.cells.resize(header.len(), CellText::default());
            self.sheet_row(&row, &columns, &layout)?;
        }
        self.physical_lines += self.at;
        Ok(())
    }

    fn sheet_row(&mut self, row: &Row, columns: &ColumnPlaces, layout: &Layout<'_>) -> Result<(), RawError> {
        let mut fields = layout.base;
        let mut kind = FieldKinds { typed: 0, is_total: layout.is_total };
        for (at, place) in &layout.placed {
            let cell = &row.cells[*place];
            fields[*at] = &cell.text;
            let typed = match self.spec.columns[*at].kind {
                RawType::Timestamp => matches!(cell.kind, Some(RawType::Date | RawType::Timestamp)),
                _ => !matches!(cell.kind, None | Some(RawType::Text)),
            };
            kind.typed |= u32::from(typed) << at;
        }
        let kept = columns.kept.iter().map(|column| {
            let folder = column.place.checked_sub(row.cells.len());
            let (text, kind) = if let Some(folder) = folder {
                (self.folder_columns[folder].1.as_str(), RawType::Text)
            } else {
                let cell = &row.cells[column.place];
                (cell.text.as_str(), cell.kind.unwrap_or(RawType::Text))
            };
            ExtraField { name: &column.name, text: Cow::Borrowed(text), kind, declared: column.declared }
        });
        let kept = kept.collect();
        self.record(&fields, kind, kept)
    }
}
