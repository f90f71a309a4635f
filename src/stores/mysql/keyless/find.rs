//! Finds rows without a key, batch by batch, in order of event time and digest. It erases nothing.

use sqlx::mysql::MySqlRow;

use super::moment::{NO_TIME, bound, order, read_time, shown};
use super::{Alike, Rows};
use crate::stores::mysql::catalogue::Column;
use crate::stores::mysql::find::read_names;
use crate::stores::mysql::rows;
use crate::stores::mysql::session::Session;
use crate::stores::mysql::trouble::Trouble;
use crate::stores::mysql::values::bytes_of;
use crate::stores::sql::Sql;
use crate::stores::{Batch, ErrorKind, Found, Key, Listed, Position, StoreError, Value};

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
        for name in names {
            sql = sql.push(&format!(", MIN({})", bytes_of(name)));
        }
        let sql = sql
            .push(&format!(" FROM {} WHERE ", self.table.source))
            .append(&Sql::all(&conditions))
            .push(&format!(" GROUP BY 1, 2, 3 ORDER BY {least}1 LIMIT {records_max}"));
        self.batch(&session.rows(&sql).await?, at.as_ref(), records_max, names, trouble)
    }

    fn batch(
        &self,
        groups: &[MySqlRow],
        at: Option<&At>,
        records_max: u64,
        names: &[&Column],
        trouble: Trouble<'_>,
    ) -> Result<Option<Found>, StoreError> {
        let mut listed = Vec::new();
        let mut last = None;
        for row in groups {
            let alike: Alike = (trouble.text(row, 0)?, read_time(row, 1, trouble)?);
            let total = trouble.count(row, 3)?;
            let before = at.filter(|at| at.alike == alike);
            // Some of them may have been listed before; whether they were erased since, their number tells.
            let (already, rest) =
                before.map_or((0, total), |at| (at.taken, total.min(at.total.saturating_sub(at.taken))));
            let take = rest.min(records_max.saturating_sub(listed.len() as u64));
            if take == 0 {
                break;
            }
            let tenant =
                rows::read_tenant(row, 2, trouble)?.ok_or_else(|| rows::nameless_selected(trouble))?;
            for ordinal in already..already + take {
                listed.push(Listed {
                    tenant: tenant.clone(),
                    key: Key(vec![Value::Text(alike.0.clone()), alike.1.clone(), number(ordinal)]),
                    names: read_names(names, row, 4, trouble)?,
                    stamp: total.to_string(),
                });
            }
            let total = before.map_or(total, |at| at.total);
            last = Some(At { alike, taken: already + take, total });
        }
        Ok(last.map(|at| Found { batch: Batch::List(listed), position: at.position() }))
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
