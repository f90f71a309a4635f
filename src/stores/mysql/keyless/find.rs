//! Finds rows without a key, batch by batch, in order of event time and digest. It erases nothing.

use sqlx::mysql::MySqlRow;

use super::moment::{NO_TIME, bound, order, read_time, shown};
use super::{Alike, Rows};
use crate::id::TenantId;
use crate::stores::mysql::catalogue::Column;
use crate::stores::mysql::find::read_names;
use crate::stores::mysql::read::fields;
use crate::stores::mysql::rows;
use crate::stores::mysql::session::Session;
use crate::stores::mysql::trouble::Trouble;
use crate::stores::mysql::values::bytes_of;
use crate::stores::sql::Sql;
use crate::stores::{Batch, ErrorKind, Found, Key, Listed, Position, Read, Record, StoreError, Value};

impl Rows<'_> {
    /// The next records after a position, in order of event time.
    pub(in crate::stores::mysql) async fn find(
        &self,
        session: &mut Session<'_>,
        after: Option<&Position>,
        records_max: u64,
        names: &[&Column],
    ) -> Result<Option<Found>, StoreError> {
        let trouble = session.trouble;
        let shown: Vec<String> = names.iter().map(|name| bytes_of(name)).collect();
        let (rows, taken, last) = self.next(session, after, records_max, &shown).await?;
        let mut listed = Vec::new();
        for taken in taken {
            let Some(row) = rows.get(taken.row) else { continue };
            for key in taken.keys {
                listed.push(Listed {
                    tenant: taken.tenant.clone(),
                    key,
                    names: read_names(names, row, SHOWN_AT, trouble)?,
                    stamp: taken.total.to_string(),
                });
            }
        }
        Ok(last.map(|at| Found { batch: Batch::List(listed), position: at.position() }))
    }

    /// As [`Rows::find`], with every column, shown in this way, of each row.
    pub(in crate::stores::mysql) async fn read(
        &self,
        session: &mut Session<'_>,
        after: Option<&Position>,
        records_max: u64,
        shown: &[String],
    ) -> Result<Option<Read>, StoreError> {
        let trouble = session.trouble;
        let (rows, taken, last) = self.next(session, after, records_max, shown).await?;
        let mut records = Vec::new();
        for taken in taken {
            let Some(row) = rows.get(taken.row) else { continue };
            for key in taken.keys {
                let fields = fields(&self.table.columns, row, SHOWN_AT, trouble)?;
                records.push(Record { tenant: taken.tenant.clone(), key, fields, has_body: false });
            }
        }
        Ok(last.map(|at| Read { records, position: at.position() }))
    }

    /// The next kinds of rows, how many of each are taken, and where that ends.
    async fn next(
        &self,
        session: &mut Session<'_>,
        after: Option<&Position>,
        records_max: u64,
        more: &[String],
    ) -> Result<(Vec<MySqlRow>, Vec<Taken>, Option<At>), StoreError> {
        let trouble = session.trouble;
        let at = after.map(|position| At::read(position, trouble)).transpose()?;
        let mut conditions = vec![self.predicate.clone()];
        conditions.extend(at.as_ref().map(|at| self.after(at)));
        if let Some(time) = self.time {
            // The index of the time, if there is one, says how far this batch can reach.
            let order = order(time);
            let sql = Sql::new(&format!("SELECT {} FROM {} WHERE ", shown(time), self.table.source))
                .append(&Sql::all(&conditions))
                .push(&format!(" ORDER BY {order} LIMIT 1 OFFSET {}", records_max - 1));
            if let Some(row) = session.row(&sql).await? {
                let last = read_time(&row, 0, trouble)?;
                let is_null = Sql::new(&order).push(" IS NULL");
                conditions.push(if last == NO_TIME {
                    is_null
                } else {
                    Sql::any(&[is_null, Sql::new(&order).push(" <= ").append(&bound(time, &last))])
                });
            }
        }
        let least = self.time.map_or_else(String::new, |time| format!("MIN({}), ", order(time)));
        let mut sql =
            Sql::new(&format!("SELECT {} AS digest, {} AS moment, ", self.digest(), self.shown_time()))
                .append(&self.owner.name())
                .push(", COUNT(*)");
        for more in more {
            // Rows of one kind agree in everything, so that any of them will do.
            sql = sql.push(&format!(", MIN({more})"));
        }
        let sql = sql
            .push(&format!(" FROM {} WHERE ", self.table.source))
            .append(&Sql::all(&conditions))
            .push(&format!(" GROUP BY 1, 2, 3 ORDER BY {least}1 LIMIT {records_max}"));
        let rows = session.rows(&sql).await?;
        let (taken, last) = take(&rows, at.as_ref(), records_max, trouble)?;
        Ok((rows, taken, last))
    }

    /// What comes after a position, in order of event time and digest.
    fn after(&self, at: &At) -> Sql {
        let (digest, moment) = &at.alike;
        let sign = if at.taken < at.total { " >= " } else { " > " };
        let next = Sql::new(&self.digest()).push(sign).bind_text(digest.as_str());
        let Some(time) = self.time else { return next };
        let order = order(time);
        if *moment == NO_TIME {
            return Sql::any(&[Sql::new(&order).push(" IS NOT NULL"), next]);
        }
        let compare = |sign: &str| Sql::new(&format!("{order} {sign} ")).append(&bound(time, moment));
        Sql::all(&[compare(">="), Sql::any(&[compare(">"), next])])
    }
}

/// Where in an answer the columns stand that were asked for beside those of the search.
const SHOWN_AT: usize = 4;

/// Rows of one kind that are taken.
struct Taken {
    /// Its place in the answer.
    row: usize,
    tenant: TenantId,
    keys: Vec<Key>,
    /// How many there are of the kind.
    total: u64,
}

fn take(
    groups: &[MySqlRow],
    at: Option<&At>,
    records_max: u64,
    trouble: Trouble<'_>,
) -> Result<(Vec<Taken>, Option<At>), StoreError> {
    let mut all = Vec::new();
    let mut left = records_max;
    let mut last = None;
    for (place, row) in groups.iter().enumerate() {
        let alike: Alike = (trouble.text(row, 0)?, read_time(row, 1, trouble)?);
        let total = trouble.count(row, 3)?;
        let before = at.filter(|at| at.alike == alike);
        // Some of them may have been listed before; whether they were erased since, their number tells.
        let (already, rest) =
            before.map_or((0, total), |at| (at.taken, total.min(at.total.saturating_sub(at.taken))));
        let take = rest.min(left);
        if take == 0 {
            break;
        }
        left -= take;
        let tenant = rows::read_tenant(row, 2, trouble)?.ok_or_else(|| rows::nameless_selected(trouble))?;
        let key = |ordinal| Key(vec![Value::Text(alike.0.clone()), alike.1.clone(), number(ordinal)]);
        let keys = (already..already + take).map(key).collect();
        all.push(Taken { row: place, tenant, keys, total });
        let total = before.map_or(total, |at| at.total);
        last = Some(At { alike, taken: already + take, total });
    }
    Ok((all, last))
}

/// A position: a kind of rows, how many of it were listed, and how many there were then.
struct At {
    alike: Alike,
    taken: u64,
    total: u64,
}

impl At {
    fn read(position: &Position, trouble: Trouble<'_>) -> Result<Self, StoreError> {
        let wrong = || trouble.of(ErrorKind::Schema, "the table had a key when the position was made");
        match position.0.0.as_slice() {
            [Value::Text(digest), moment, Value::Int(taken), Value::Int(total)] => Ok(Self {
                alike: (digest.clone(), moment.clone()),
                taken: u64::try_from(*taken).map_err(|_| wrong())?,
                total: u64::try_from(*total).map_err(|_| wrong())?,
            }),
            _ => Err(wrong()),
        }
    }

    fn position(self) -> Position {
        let (digest, moment) = self.alike;
        Position(Key(vec![Value::Text(digest), moment, number(self.taken), number(self.total)]))
    }
}

fn number(count: u64) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}
