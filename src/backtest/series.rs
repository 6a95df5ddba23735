//! Recorded load: CSV in, values on an even grid out. What is not there is `None`, a missing reading, never zero.

use contract::Timestamp;
use policies::policy::units::{cut, duration_text};
use policies::policy::{At, Diagnostic, Finding, Findings, SourceFile};
use std::ops::Range;
use std::time::Duration;

/// More steps than this are a slip in a time, not a series: five years of minutes.
const STEPS_MAX: usize = 2_700_000;

/// Values on an even grid. The value at index k is the mean over the step that begins at `start + k * step`.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The first row's time.
    pub start: Timestamp,
    /// The time between two values.
    pub step: Duration,
    /// The values; `None`: no row, or a row without a value.
    pub values: Vec<Option<f64>>,
}

/// What stands in one row.
struct Row {
    at: Timestamp,
    value: Option<f64>,
    /// The time's and the whole row's places, in bytes.
    time_at: Range<usize>,
    row_at: Range<usize>,
}

/// What is wrong, where, and what would be right.
struct Wrong(Range<usize>, String, String);

/// Which columns hold what.
struct Columns {
    time: usize,
    value: usize,
}

impl Series {
    /// Reads CSV with a header that names the columns `timestamp_s` (seconds since the epoch, or from any start) and
    /// `value` (or `rate`); other columns are ignored.
    ///
    /// # Errors
    /// The first thing that is wrong: a missing column, a time that is none, does not grow or is off the grid of `step`,
    /// a value that is no number, NaN, infinite or below zero.
    pub fn parse(file: &SourceFile, step: Duration) -> Result<Self, Box<Diagnostic>> {
        read(&file.text, step).map_err(|Wrong(span, message, hint)| {
            let findings = Findings::new(std::slice::from_ref(file));
            findings.error(At::new(0, span), Finding::new(message).hint(hint));
            let found = findings.into_diagnostics().into_iter().next();
            Box::new(found.unwrap_or_else(|| Diagnostic::of_file(0, "cannot be read")))
        })
    }

    /// Samples on the grid from `start` to before `end`; what is off the grid or outside of it is left out.
    pub fn from_samples(start: Timestamp, end: Timestamp, step: Duration, samples: &[(Timestamp, f64)]) -> Self {
        let steps = end.since(start).as_micros() / step.as_micros().max(1);
        let mut values = vec![None; usize::try_from(steps).unwrap_or(usize::MAX).min(STEPS_MAX)];
        for (at, value) in samples.iter().filter(|(at, value)| *at >= start && value.is_finite() && *value >= 0.0) {
            let offset = at.since(start);
            let index = usize::try_from(offset.as_micros() / step.as_micros().max(1)).unwrap_or(usize::MAX);
            let on_grid = offset.as_micros().is_multiple_of(step.as_micros().max(1));
            if let Some(slot) = values.get_mut(index).filter(|_| on_grid) {
                *slot = Some(*value);
            }
        }
        Self { start, step, values }
    }

    /// The value of the step that begins at this time; `None` where nothing is known.
    pub fn at(&self, time: Timestamp) -> Option<f64> {
        let offset = time.0.checked_sub(self.start.0)?;
        let step = contract::micros(self.step);
        let index = usize::try_from(offset.div_euclid(step)).ok()?;
        self.values.get(index).copied().flatten()
    }

    /// How many values are missing.
    pub fn missing(&self) -> usize {
        self.values.iter().filter(|value| value.is_none()).count()
    }
}

fn read(text: &str, step: Duration) -> Result<Series, Wrong> {
    let mut lines = lines(text).filter(|(_, line)| !line.trim().is_empty());
    let Some((at, header)) = lines.next() else {
        return Err(Wrong(0..0, "the file is empty".into(), "it begins with the header timestamp_s,value".into()));
    };
    let columns = columns(at, header)?;
    let mut rows = Vec::new();
    for (at, line) in lines {
        rows.push(row(at, line, &columns)?);
    }
    if rows.len() < 2 {
        let span = rows.last().map_or(at..at + header.len(), |row| row.row_at.clone());
        let hint = "a series needs two rows at least".into();
        return Err(Wrong(span, format!("only {} of data", counted(rows.len())), hint));
    }
    check_steps(&rows, step)?;
    grid(&rows, step)
}

fn counted(rows: usize) -> String {
    if rows == 1 { "1 row".into() } else { format!("{rows} rows") }
}

/// Lines without their ends, each with where it begins.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut from = 0;
    text.split_inclusive('\n').map(move |line| {
        let at = from;
        from += line.len();
        // A byte order mark is no part of the first name.
        let mark = if at == 0 && line.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        (at + mark, line[mark..].trim_end_matches(['\n', '\r']))
    })
}

/// The cells of a line, each with where it stands.
fn cells(at: usize, line: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut from = at;
    line.split(',').map(move |cell| {
        let begin = from;
        from += cell.len() + 1;
        let inner = cell.trim().trim_matches('"');
        (begin..begin + cell.len(), inner)
    })
}

fn columns(at: usize, header: &str) -> Result<Columns, Wrong> {
    let find = |name: &str| cells(at, header).position(|(_, cell)| cell == name);
    let lacks = |name: &str| {
        let message = format!("the header has no column `{name}`: it is `{}`", cut(header));
        Wrong(at..at + header.len(), message, "the header is timestamp_s,value".into())
    };
    let time = find("timestamp_s").ok_or_else(|| lacks("timestamp_s"))?;
    let value = find("value").or_else(|| find("rate")).ok_or_else(|| lacks("value"))?;
    Ok(Columns { time, value })
}

fn row(at: usize, line: &str, columns: &Columns) -> Result<Row, Wrong> {
    let row_at = at..at + line.len();
    let cell = |index: usize, name: &str| {
        let hint = || "every row has a cell for every column of the header".to_owned();
        cells(at, line)
            .nth(index)
            .ok_or_else(|| Wrong(row_at.clone(), format!("the row has no column `{name}`"), hint()))
    };
    let (time_at, time) = cell(columns.time, "timestamp_s")?;
    let (value_at, value) = cell(columns.value, "value")?;
    let at = time.parse().ok().and_then(Timestamp::from_secs_f64).ok_or_else(|| {
        let hint = "seconds since the epoch, or from any start".into();
        Wrong(time_at.clone(), format!("`{}` is no time", cut(time)), hint)
    })?;
    let value = match value {
        // A row without a value is a reading that was missing.
        "" => None,
        text => Some(number(text).map_err(|what| {
            let hint = "leave the cell empty, or the row out, where no reading is known".into();
            Wrong(value_at, format!("`{}` {what}", cut(text)), hint)
        })?),
    };
    Ok(Row { at, value, time_at, row_at })
}

fn number(text: &str) -> Result<f64, &'static str> {
    match text.parse::<f64>() {
        Err(_) => Err("is no number"),
        Ok(number) if !number.is_finite() => Err("is not a finite number"),
        Ok(number) if number < 0.0 => Err("is below zero, which no load is"),
        Ok(number) => Ok(number),
    }
}

/// Rows come in order and on the grid; rows that are all further apart than the step are another step, not gaps.
fn check_steps(rows: &[Row], step: Duration) -> Result<(), Wrong> {
    let micros = contract::micros(step);
    let shown = duration_text(step);
    let mut least = (i64::MAX, 0);
    for (index, pair) in rows.windows(2).enumerate() {
        let (before, row) = (&pair[0], &pair[1]);
        let apart = row.at.0.saturating_sub(before.at.0);
        if apart <= 0 {
            let message = format!("the time does not grow: {} after {}", row.at, before.at);
            return Err(Wrong(row.time_at.clone(), message, "sort the rows by time and keep each time once".into()));
        }
        if apart % micros != 0 {
            let message = format!("{} after the row before, and the model's step is {shown}", apart_text(apart));
            let hint = "say the series' own step in the model; a gap is a whole number of steps".into();
            return Err(Wrong(row.time_at.clone(), message, hint));
        }
        if apart < least.0 {
            least = (apart, index + 1);
        }
    }
    if least.0 > micros {
        let apart = apart_text(least.0);
        let message = format!("the rows are {apart} or more apart, and the model's step is {shown}");
        let span = rows[least.1].time_at.clone();
        return Err(Wrong(span, message, format!("write step = \"{apart}\" in the model")));
    }
    Ok(())
}

fn apart_text(micros: i64) -> String {
    duration_text(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

fn grid(rows: &[Row], step: Duration) -> Result<Series, Wrong> {
    let micros = contract::micros(step);
    let start = rows[0].at;
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let index = usize::try_from((row.at.0 - start.0) / micros).unwrap_or(usize::MAX);
        if index >= STEPS_MAX {
            let message = format!("more than {STEPS_MAX} steps after the first row");
            return Err(Wrong(row.time_at.clone(), message, "is this time in seconds?".into()));
        }
        values.resize(index, None);
        values.push(row.value);
    }
    Ok(Series { start, step, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn parse(text: &str) -> Result<Series, String> {
        let file = SourceFile { name: "load.csv".into(), text: text.into() };
        Series::parse(&file, MINUTE)
            .map_err(|one| format!("{}:{} {} ({})", one.line, one.column, one.message, one.hint.unwrap_or_default()))
    }

    #[test]
    fn a_gap_is_missing_never_zero() {
        let series = parse("timestamp_s,value\n600,1.5\n660,\n720,0\n900,4\n").unwrap();
        assert_eq!(series.start, Timestamp::from_secs(600));
        assert_eq!(series.values, [Some(1.5), None, Some(0.0), None, None, Some(4.0)]);
        assert_eq!(series.missing(), 3);
        for (secs, value) in
            [(599, None), (600, Some(1.5)), (659, Some(1.5)), (780, None), (900, Some(4.0)), (960, None)]
        {
            assert_eq!(series.at(Timestamp::from_secs(secs)), value, "{secs}");
        }
    }

    #[test]
    fn samples_are_put_on_the_grid() {
        let at = Timestamp::from_secs;
        let samples = [(at(0), 9.0), (at(60), 1.0), (at(130), 9.0), (at(180), -1.0), (at(240), 4.0), (at(300), 9.0)];
        let series = Series::from_samples(at(60), at(300), MINUTE, &samples);
        assert_eq!((series.start, series.values), (at(60), vec![Some(1.0), None, None, Some(4.0)]));
    }

    #[test]
    fn columns_are_found_by_name() {
        let expected = vec![Some(1.0), Some(2.0)];
        for text in [
            "timestamp_s,value\n0,1\n60,2",
            "\u{feff}timestamp_s,value\r\n0,1\r\n60,2\r\n\r\n",
            "host,value,timestamp_s\nx,1,0\ny,2,60\n",
            "timestamp_s, rate\n0.0, 1\n60.0, 2e0\n",
            "\"timestamp_s\",\"value\"\n\"0\",\"1\"\n60,2\n",
        ] {
            assert_eq!(parse(text).map(|series| series.values), Ok(expected.clone()), "{text:?}");
        }
    }

    #[test]
    fn each_mistake_has_its_line() {
        for (text, expected) in [
            ("", "1:1 the file is empty"),
            ("timestamp_s,valu\n0,1\n", "1:1 the header has no column `value`: it is `timestamp_s,valu`"),
            ("time,value\n0,1\n", "1:1 the header has no column `timestamp_s`"),
            ("0,1\n60,2\n", "1:1 the header has no column `timestamp_s`: it is `0,1`"),
            ("timestamp_s,value\n0,1\n", "2:1 only 1 row of data"),
            ("timestamp_s,value\n0,1\n60\n", "3:1 the row has no column `value`"),
            ("timestamp_s,value\n0,1\n60,NaN\n", "3:4 `NaN` is not a finite number (leave the cell empty"),
            ("timestamp_s,value\n0,1\n60,inf\n", "3:4 `inf` is not a finite number"),
            ("timestamp_s,value\n0,1\n60,-3\n", "3:4 `-3` is below zero"),
            ("timestamp_s,value\n0,1\n60,many\n", "3:4 `many` is no number"),
            ("timestamp_s,value\n0,1\nnoon,2\n", "3:1 `noon` is no time"),
            ("timestamp_s,value\n0,1\n60,2\n60,3\n", "4:1 the time does not grow: 60 after 60"),
            ("timestamp_s,value\n0,1\n60,2\n0,3\n", "4:1 the time does not grow"),
            ("timestamp_s,value\n0,1\n30,2\n", "3:1 30s after the row before, and the model's step is 1m"),
            ("timestamp_s,value\n0,1\n60,2\n150,2\n", "4:1 1m30s after the row before"),
            ("timestamp_s,value\n0,1\n300,2\n600,3\n", "3:1 the rows are 5m or more apart"),
            ("timestamp_s,value\n0,1\n60,1\n1700000000000,2\n", "4:1 `1700000000000` is no time"),
            ("timestamp_s,value\n0,1\n60,1\n1700000040,2\n", "4:1 more than 2700000 steps after the first row"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.starts_with(expected), "{text:?}: {said}");
        }
    }
}
