//! How counts, instants, spans and tables look in text for people. It owns the look, not what is said.
//! Pure: zone and now are parameters, colour is added by whoever knows the terminal.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use comfy_table::{CellAlignment, Table, presets};

/// Columns of a table: the heading, and on which side its values are aligned.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// Words.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

/// A table without lines, indented by two spaces. Columns without any value are left out.
pub fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let used: Vec<usize> = (0..columns.len())
        .filter(|&at| rows.iter().any(|row| row.get(at).is_some_and(|cell| !cell.is_empty())))
        .collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(used.iter().filter_map(|&at| columns.get(at)).map(|column| match column {
        Column::Left(heading) | Column::Right(heading) => *heading,
    }));
    for row in rows {
        table.add_row(used.iter().map(|&at| shown(row.get(at).map_or("", String::as_str))));
    }
    for (place, &at) in used.iter().enumerate() {
        if let Some(column) = table.column_mut(place) {
            column.set_padding((2, 0));
            if matches!(columns.get(at), Some(Column::Right(_))) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A text that a store or a file holds, safe for a terminal: control and direction characters are written out.
pub fn shown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                safe.extend(c.escape_unicode());
            }
            c if c.is_control() => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

/// A number with a comma before every third digit.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with the word for what is counted: `1 record`, `2 records`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// An instant as a calendar and a clock show it in the zone: `2026-12-06 14:00 +08:00`.
pub fn absolute(instant: DateTime<Utc>, zone: Tz) -> String {
    instant.with_timezone(&zone).format("%Y-%m-%d %H:%M %:z").to_string()
}

/// The local date of an instant.
pub fn date(instant: DateTime<Utc>, zone: Tz) -> String {
    instant.with_timezone(&zone).format("%Y-%m-%d").to_string()
}

/// How far off an instant is: `in 12 days`, `3 hours ago`, `now`. Whole units, rounded towards now.
pub fn relative(instant: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = instant.signed_duration_since(now).num_seconds();
    let ago = seconds < 0;
    let seconds = seconds.unsigned_abs();
    let span = match seconds {
        0..60 => return "now".to_owned(),
        60..7_200 => counted(seconds / 60, "minute", "minutes"),
        7_200..172_800 => counted(seconds / 3_600, "hour", "hours"),
        _ => counted(seconds / 86_400, "day", "days"),
    };
    if ago { format!("{span} ago") } else { format!("in {span}") }
}

/// Both: `in 12 days, 2026-12-06 14:00 +08:00`.
pub fn moment(instant: DateTime<Utc>, zone: Tz, now: DateTime<Utc>) -> String {
    format!("{}, {}", relative(instant, now), absolute(instant, zone))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn noon() -> DateTime<Utc> {
        "2026-11-24T06:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_moment_says_both_how_far_and_when_in_the_zone() {
        let text = moment(noon() + TimeDelta::days(12), Tz::Asia__Singapore, noon());
        assert_eq!(text, "in 12 days, 2026-12-06 14:00 +08:00");
    }

    #[test]
    fn a_span_changes_its_unit_exactly_at_the_edge() {
        let said = |seconds| relative(noon() + TimeDelta::seconds(seconds), noon());
        assert_eq!(said(59), "now");
        assert_eq!(said(60), "in 1 minute");
        assert_eq!(said(7_199), "in 119 minutes");
        assert_eq!(said(7_200), "in 2 hours");
        assert_eq!(said(172_799), "in 47 hours");
        assert_eq!(said(172_800), "in 2 days");
        assert_eq!(said(-172_800), "2 days ago");
    }

    #[test]
    fn counts_are_grouped_by_three() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn numbers_stand_on_the_right_and_empty_columns_are_left_out() {
        let rows = [
            vec!["a".to_owned(), String::new(), "9".to_owned()],
            vec!["bcd".to_owned(), String::new(), "1,234".to_owned()],
        ];
        let text = table(&[Column::Left("who"), Column::Left("why"), Column::Right("n")], &rows);
        assert_eq!(text, "  who      n\n  a        9\n  bcd  1,234\n");
    }

    #[test]
    fn a_tenant_that_holds_an_escape_sequence_cannot_command_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\n\u{202e}c é"), "a\\u{1b}[2Jb\\n\\u{202e}c é");
    }
}
