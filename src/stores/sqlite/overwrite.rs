//! Overwrites rows with zeros of the same length, reads them again as zeros, and deletes them: evidence per row. It
//! makes no claim about bytes on the disk; that is what `scrub` is for.

use super::catalogue::{Column, Table};
use super::session::{Session, Trouble, Writing};
use crate::stores::sql::{Sql, quoted};
use crate::stores::{ErrorKind, StoreError};

/// Where the keys of doomed rows wait: once their values are zeros no predicate finds them any more.
const DOOMED: &str = "temp.retentiond_doomed";

/// Makes the list of doomed keys, empty. Outside of the transaction, since it is the connection's own.
///
/// # Errors
/// Where overwriting would change rows of other tables by a foreign key.
pub(super) async fn prepare(session: &mut Session<'_>, table: &Table) -> Result<(), StoreError> {
    let follows = Sql::new(
        "SELECT count(*) FROM main.sqlite_schema AS m, pragma_foreign_key_list(m.name, 'main') AS f \
         WHERE m.type = 'table' AND f.on_update IN ('CASCADE', 'SET NULL', 'SET DEFAULT') AND lower(f.\"table\") = lower(",
    )
    .bind_text(&table.name)
    .push(")");
    if session.number(&follows).await? != Some(0) {
        return Err(session
            .trouble
            .of(ErrorKind::Refused, "zeros would be passed on by a foreign key (on update)"));
    }
    let columns: Vec<String> = (0..table.key.parts().len()).map(|place| format!("k{place}")).collect();
    session.execute(&Sql::new(&format!("DROP TABLE IF EXISTS {DOOMED}"))).await?;
    session
        .execute(&Sql::new(&format!(
            "CREATE TABLE {DOOMED} (place INTEGER PRIMARY KEY, {})",
            columns.join(", ")
        )))
        .await?;
    Ok(())
}

/// Overwrites, re-reads and deletes the rows that meet a condition; how many were deleted.
pub(super) async fn erase(writing: &mut Writing<'_>, table: &Table, these: &Sql) -> Result<u64, StoreError> {
    let trouble = writing.trouble;
    let columns: Vec<String> = (0..table.key.parts().len()).map(|place| format!("k{place}")).collect();
    let columns = columns.join(", ");
    let collect = Sql::new(&format!("INSERT INTO {DOOMED} ({columns}) SELECT {} FROM ", table.key.list()))
        .push(&table.source_by_key())
        .push(" WHERE ")
        .append(these);
    let doomed = writing.execute(&collect).await?;
    // A zero in a column that refers to another table refers to nothing; at the end of the transaction the row is gone.
    writing.execute(&Sql::new("PRAGMA defer_foreign_keys = ON")).await?;
    let overwritten: Vec<&Column> = table.columns.iter().filter(|column| is_value(column)).collect();
    let unique = has_unique_value(writing, table, &overwritten).await?;
    // Two zeros in a unique column would collide, so such rows go one by one.
    let slices: Vec<Sql> = if unique {
        let doomed = i64::try_from(doomed).unwrap_or(i64::MAX);
        (1..=doomed).map(|place| Sql::new(" WHERE place = ").bind_int(place)).collect()
    } else {
        vec![Sql::new("")]
    };
    let mut deleted = 0;
    for slice in slices {
        let listed = Sql::new(&format!("({}) IN (SELECT {columns} FROM {DOOMED}", table.key.list()))
            .append(&slice)
            .push(")");
        deleted += overwrite_and_delete(writing, table, &overwritten, &listed, trouble).await?;
    }
    Ok(deleted)
}

async fn overwrite_and_delete(
    writing: &mut Writing<'_>,
    table: &Table,
    overwritten: &[&Column],
    listed: &Sql,
    trouble: Trouble<'_>,
) -> Result<u64, StoreError> {
    let source = table.source_by_key();
    if !overwritten.is_empty() {
        let zeros: Vec<String> =
            overwritten.iter().map(|column| format!("{} = {}", quoted(&column.name), zero(column))).collect();
        let update = Sql::new(&format!("UPDATE {source} SET {} WHERE ", zeros.join(", "))).append(listed);
        writing.execute(&update).await?;
        let other: Vec<String> =
            overwritten.iter().map(|column| format!("{} IS NOT {}", column.sql, zero(column))).collect();
        let check = Sql::new(&format!("SELECT count(*) FROM {source} WHERE ({}) AND ", other.join(" OR ")))
            .append(listed);
        if writing.number(&check).await? != Some(0) {
            return Err(trouble.of(ErrorKind::Refused, "a row that was overwritten does not read as zeros"));
        }
    }
    writing.execute(&Sql::new(&format!("DELETE FROM {source} WHERE ")).append(listed)).await
}

/// Zeros of the same type and length. Applied to zeros it changes nothing, which is how they are recognised.
fn zero(column: &Column) -> String {
    let value = &column.sql;
    format!(
        "CASE typeof({value}) WHEN 'integer' THEN 0 WHEN 'real' THEN 0.0 WHEN 'blob' THEN zeroblob(length({value})) \
         WHEN 'text' THEN substr(hex(zeroblob(length({value}) / 2 + 1)), 1, length({value})) END"
    )
}

/// Everything but the key and what SQLite computes itself.
fn is_value(column: &Column) -> bool {
    column.key_place == 0 && !column.generated
}

async fn has_unique_value(
    writing: &mut Writing<'_>,
    table: &Table,
    overwritten: &[&Column],
) -> Result<bool, StoreError> {
    let trouble = writing.trouble;
    let sql = Sql::new("SELECT DISTINCT x.name FROM pragma_index_list(")
        .bind_text(&table.name)
        .push(", 'main') AS l, pragma_index_xinfo(l.name, 'main') AS x WHERE l.\"unique\" AND x.key");
    for row in writing.rows(&sql).await? {
        // An expression has no name; it may be made of any column.
        let name: Option<String> = trouble.get(&row, 0)?;
        if name.is_none_or(|name| overwritten.iter().any(|column| column.name == name)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::sqlite::catalogue::Affinity;
    use crate::stores::sqlite::tests::Scratch;

    #[tokio::test]
    async fn zeros_have_the_type_and_length_of_what_they_replace() {
        let scratch = Scratch::new("CREATE TABLE t (c)").await;
        let column = Column {
            name: "c".into(),
            sql: "t.\"c\"".into(),
            declared: String::new(),
            affinity: Affinity::Blob,
            key_place: 0,
            generated: false,
        };
        for (stored, expected) in [
            ("'hello'", "'00000'"),
            ("'é'", "'0'"),
            ("''", "''"),
            ("'four'", "'0000'"),
            ("x'0102ff'", "x'000000'"),
            ("-42", "0"),
            ("1.5", "0.0"),
            ("NULL", "NULL"),
        ] {
            let zero = zero(&column);
            let sql = format!(
                "SELECT {zero} IS {expected} AND typeof({zero}) = typeof({expected}) FROM (SELECT {stored} AS c) AS t"
            );
            let link = scratch.writer().await;
            assert_eq!(
                link.session("test").await.number(&Sql::new(&sql)).await.unwrap(),
                Some(1),
                "{stored}"
            );
        }
    }
}
