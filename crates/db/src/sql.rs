//! What every compute table shares: how values are stored, read by position, paged and inserted. Called by the
//! modules of the compute tables only.
//!
//! Stored forms are the same in every database: a uuid is its text, a state is Nova's word or number, an instant is its
//! microseconds since 1970, which compare and sort alike everywhere.

use chrono::{DateTime, Utc};
use kilonova_objects::{PowerState, TaskState, VmState};
use sea_orm::sea_query::{
    Alias, Condition, Expr, ExprTrait as _, InsertStatement, IntoColumnRef, LikeExpr, NullOrdering, Order, Query,
    SelectStatement,
};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Value};
use uuid::Uuid;

use crate::DbError;

/// Values in one statement: below the least limit of the three databases (SQLite's 32,766).
const MAX_VALUES: usize = 16_384;

/// A Rust type with a form in a column.
pub(crate) trait Cell: Sized {
    /// The form in the column.
    fn value(&self) -> Value;

    /// From the column at `at`.
    fn read(row: &QueryResult, at: usize) -> Result<Self, DbErr>;
}

/// `Cell` for a type and its `Option`, by way of a type that the databases know.
macro_rules! cell {
    ($type:ty, $column:ty, |$value:ident| $write:expr, |$stored:ident| $read:expr) => {
        impl Cell for $type {
            fn value(&self) -> Value {
                let $value = self;
                let stored: $column = $write;
                stored.into()
            }

            fn read(row: &QueryResult, at: usize) -> Result<Self, DbErr> {
                let $stored: $column = row.try_get_by_index(at)?;
                $read
            }
        }

        impl Cell for Option<$type> {
            fn value(&self) -> Value {
                let stored: Option<$column> = self.as_ref().map(|$value| $write);
                stored.into()
            }

            fn read(row: &QueryResult, at: usize) -> Result<Self, DbErr> {
                let stored: Option<$column> = row.try_get_by_index(at)?;
                stored.map(|$stored| $read).transpose()
            }
        }
    };
}

cell!(String, String, |value| value.clone(), |stored| Ok(stored));
cell!(bool, bool, |value| *value, |stored| Ok(stored));
cell!(i64, i64, |value| *value, |stored| Ok(stored));
cell!(f64, f64, |value| *value, |stored| Ok(stored));
cell!(Uuid, String, |value| value.to_string(), |stored| Uuid::try_parse(&stored).map_err(unreadable));
cell!(DateTime<Utc>, i64, |value| value.timestamp_micros(), |stored| {
    DateTime::from_timestamp_micros(stored).ok_or_else(|| unreadable("no such instant"))
});
cell!(VmState, String, |value| value.as_str().to_owned(), |stored| stored.parse().map_err(unreadable));
cell!(TaskState, String, |value| value.as_str().to_owned(), |stored| stored.parse().map_err(unreadable));
cell!(PowerState, i64, |value| value.number(), |stored| {
    PowerState::from_number(stored).ok_or_else(|| unreadable("no such power state"))
});

fn unreadable(reason: impl ToString) -> DbErr {
    DbErr::Type(reason.to_string())
}

/// Declares which fields of an object are columns of the same name, in the order in which they are selected.
///
/// Makes `COLUMNS`, `values` for writing and, unless they are `only_written`, `read_columns` for reading.
macro_rules! columns {
    (only_written: $object:ty, [$($field:ident),* $(,)?]) => {
        pub(super) const COLUMNS: &[&str] = &[$($crate::sql::column_name(stringify!($field))),*];

        pub(super) fn values(object: &$object) -> Vec<sea_orm::Value> {
            vec![$($crate::sql::Cell::value(&object.$field)),*]
        }
    };
    ($object:ty, [$($field:ident),* $(,)?]) => {
        $crate::sql::columns!(only_written: $object, [$($field),*]);

        pub(super) fn read_columns(row: &sea_orm::QueryResult, object: &mut $object) -> Result<(), sea_orm::DbErr> {
            let mut places = 0..;
            $( object.$field = $crate::sql::Cell::read(row, places.next().unwrap_or_default())?; )*
            Ok(())
        }
    };
}
pub(crate) use columns;

/// The column of a field: `type` for `r#type`.
pub(crate) const fn column_name(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// The value of a cell as an expression.
pub(crate) fn val(cell: impl Cell) -> Expr {
    Expr::val(cell.value())
}

/// `SELECT columns FROM table`.
pub(crate) fn select(table: &'static str, columns: &[&'static str]) -> SelectStatement {
    Query::select().columns(columns.iter().copied()).from(table).take()
}

/// `lists` of at most so many that one statement takes them all.
pub(crate) fn chunks<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    items.chunks(MAX_VALUES)
}

/// `column IN (uuids)`. The list grows in powers of two by repeating its last item, so that few different statements
/// are prepared.
pub(crate) fn uuid_in(column: &'static str, uuids: &[Uuid]) -> Expr {
    let mut texts: Vec<String> = uuids.iter().map(Uuid::to_string).collect();
    if let Some(last) = texts.last().cloned() {
        texts.resize(texts.len().next_power_of_two(), last);
    }
    Expr::col(column).is_in(texts)
}

/// `column LIKE '%text%'`, with what has a meaning in a pattern taken as it is. `!` escapes, because a backslash in a
/// literal is not the same in every database.
pub(crate) fn contains(column: &'static str, text: &str) -> Expr {
    Expr::col(column).like(like(&format!("%{}%", escaped(text))))
}

/// `column LIKE 'text%'`.
pub(crate) fn starts_with(column: &'static str, text: &str) -> Expr {
    Expr::col(column).like(like(&format!("{}%", escaped(text))))
}

fn like(pattern: &str) -> LikeExpr {
    LikeExpr::new(pattern).escape('!')
}

fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern
}

/// `SUM(column)` as a 64-bit integer, 0 without rows. What a sum's type is differs by database.
pub(crate) fn sum(backend: DbBackend, column: impl IntoColumnRef) -> Expr {
    let integer = if backend == DbBackend::MySql { "SIGNED" } else { "BIGINT" };
    Expr::col(column).sum().if_null(0).cast_as(Alias::new(integer))
}

/// Inserts one row and returns its `id`.
pub(crate) async fn insert(
    conn: &impl ConnectionTrait,
    table: &'static str,
    columns: &[&'static str],
    values: Vec<Value>,
) -> Result<i64, DbErr> {
    let mut statement = insert_statement(table, columns, [values])?;
    if conn.support_returning() {
        let row = conn.query_one(statement.returning_col("id")).await?;
        return row.ok_or(DbErr::RecordNotInserted)?.try_get_by_index(0);
    }
    let id = conn.execute(&statement).await?.last_insert_id();
    i64::try_from(id).map_err(unreadable)
}

/// Inserts rows, many in one statement.
pub(crate) async fn insert_many(
    conn: &impl ConnectionTrait,
    table: &'static str,
    columns: &[&'static str],
    rows: Vec<Vec<Value>>,
) -> Result<(), DbErr> {
    let at_once = (MAX_VALUES / columns.len()).max(1);
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let statement = insert_statement(table, columns, rows.by_ref().take(at_once))?;
        conn.execute(&statement).await?;
    }
    Ok(())
}

/// `INSERT INTO table (columns) VALUES rows`.
pub(crate) fn insert_statement(
    table: &'static str,
    columns: &[&'static str],
    rows: impl IntoIterator<Item = Vec<Value>>,
) -> Result<InsertStatement, DbErr> {
    let mut statement = Query::insert();
    statement.into_table(table).columns(columns.iter().copied());
    for row in rows {
        let row = row.into_iter().map(Expr::val);
        statement.values(row).map_err(|error| unreadable(error.to_string()))?;
    }
    Ok(statement)
}

/// Keeps the rows with this value from others until the transaction ends. On SQLite they are already: it has one writer.
pub(crate) async fn lock_rows(
    tx: &impl ConnectionTrait,
    table: &'static str,
    column: &'static str,
    values: Vec<Value>,
) -> Result<(), DbErr> {
    if tx.get_database_backend() == DbBackend::Sqlite || values.is_empty() {
        return Ok(());
    }
    let mut statement = select(table, &[column]);
    // In a fixed order: who locks several meets others at the first of them.
    statement.and_where(Expr::col(column).is_in(values)).order_by(column, Order::Asc).lock_exclusive();
    tx.query_all(&statement).await?;
    Ok(())
}

/// How many rows a `SELECT COUNT(*)` found.
pub(crate) async fn count(conn: &impl ConnectionTrait, statement: &SelectStatement) -> Result<i64, DbErr> {
    match conn.query_one(statement).await? {
        Some(row) => row.try_get_by_index(0),
        None => Ok(0),
    }
}

/// [`DbError::Exists`] where a unique key was violated.
pub(crate) fn exists_or(error: DbErr, resource: &'static str, id: impl ToString) -> DbError {
    if DbError::is_unique_violation(&error) { DbError::exists(resource, id) } else { error.into() }
}

/// A column that rows are sorted by. Null is less than every value, in every database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SortColumn {
    pub(crate) name: &'static str,
    pub(crate) nullable: bool,
    pub(crate) desc: bool,
}

/// Adds the order to a query. The last column must be unique, or pages may overlap.
pub(crate) fn order_by(statement: &mut SelectStatement, sort: &[SortColumn]) {
    for column in sort {
        let order = if column.desc { Order::Desc } else { Order::Asc };
        if column.nullable {
            let nulls = if column.desc { NullOrdering::Last } else { NullOrdering::First };
            statement.order_by_with_nulls(column.name, order, nulls);
        } else {
            statement.order_by(column.name, order);
        }
    }
}

/// At most `limit` rows. A limit beyond what the databases count to is none.
pub(crate) fn limit_to(statement: &mut SelectStatement, limit: Option<u64>) {
    if let Some(limit) = limit.filter(|limit| i64::try_from(*limit).is_ok()) {
        statement.limit(limit);
    }
}

/// Rows strictly after the one that has `marker` in the columns of `sort`.
pub(crate) fn after(sort: &[SortColumn], marker: &[Value]) -> Condition {
    let mut any = Condition::any();
    for (place, (column, value)) in sort.iter().zip(marker).enumerate() {
        let Some(beyond) = beyond(column, value) else { continue };
        let mut all = Condition::all();
        for (same, value) in sort.iter().zip(marker).take(place) {
            all = all.add(if is_null(value) {
                Expr::col(same.name).is_null()
            } else {
                Expr::col(same.name).eq(value.clone())
            });
        }
        any = any.add(all.add(beyond));
    }
    any
}

/// What comes after `value` in one column; `None`: nothing does.
fn beyond(column: &SortColumn, value: &Value) -> Option<Expr> {
    let name = Expr::col(column.name);
    match (column.desc, is_null(value)) {
        (false, true) => Some(name.is_not_null()),
        (true, true) => None,
        (false, false) => Some(name.gt(value.clone())),
        (true, false) if column.nullable => Some(name.clone().lt(value.clone()).or(name.is_null())),
        (true, false) => Some(name.lt(value.clone())),
    }
}

fn is_null(value: &Value) -> bool {
    *value == value.as_null()
}
