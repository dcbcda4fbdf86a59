//! One statement of a migration, as a value: so that a test can stop between any two of them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// One statement. It must be harmless to run it again.
#[derive(Debug)]
pub enum Step {
    /// Creates a table of this name unless it is there.
    Table(&'static str, Box<TableCreateStatement>),
    /// Creates an index unless it is there.
    Index(Box<IndexCreateStatement>),
    /// Adds a column to this table unless it is there.
    Column(&'static str, Box<ColumnDef>),
    /// Anything else, in words that both databases understand.
    Sql(&'static str),
    /// The same, in the words of one kind of database; on the other nothing is done.
    Only(DbBackend, &'static str),
}

impl Step {
    /// Runs the statement.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn run(self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        match self {
            Self::Table(_, statement) => manager.create_table(*statement).await,
            Self::Index(statement) => manager.create_index(*statement).await,
            Self::Column(table, column) => add_column(manager, table, *column).await,
            Self::Sql(statement) => manager.get_connection().execute_unprepared(statement).await.map(drop),
            Self::Only(backend, _) if backend != manager.get_database_backend() => Ok(()),
            Self::Only(_, statement) => manager.get_connection().execute_unprepared(statement).await.map(drop),
        }
    }

    /// Runs these, in order.
    ///
    /// # Errors
    ///
    /// What the database says; those before have run.
    pub async fn run_all(steps: Vec<Self>, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        for step in steps {
            step.run(manager).await?;
        }
        Ok(())
    }

    /// A table with these columns.
    pub(crate) fn table<const N: usize>(name: &'static str, columns: [ColumnDef; N]) -> Self {
        let mut table = Table::create().table(name).if_not_exists().to_owned();
        for column in columns {
            table.col(column);
        }
        Self::Table(name, Box::new(table))
    }

    /// A table whose rows are deleted with the row of `owner` whose id is in `column`.
    pub(crate) fn table_owned_by<const N: usize>(
        owner: &'static str,
        column: &'static str,
        name: &'static str,
        columns: [ColumnDef; N],
    ) -> Self {
        Self::table(name, columns).owned_by(owner, column)
    }

    /// The table's rows are deleted with the row of `owner` whose id is in `column`.
    pub(crate) fn owned_by(self, owner: &'static str, column: &'static str) -> Self {
        self.with_table(|name, table| {
            table.foreign_key(
                ForeignKey::create().from(name, column).to(owner, "id").on_delete(ForeignKeyAction::Cascade),
            );
        })
    }

    /// The table's primary key is made of these columns.
    pub(crate) fn keyed_by<const N: usize>(self, columns: [&'static str; N]) -> Self {
        self.with_table(|_, table| {
            let mut key = Index::create();
            for column in columns {
                key.col(column);
            }
            table.primary_key(&mut key);
        })
    }

    /// The table refuses rows for which this does not hold.
    pub(crate) fn check(self, condition: &'static str) -> Self {
        self.with_table(|_, table| {
            table.check(Expr::cust(condition));
        })
    }

    /// A column that an earlier migration's table gets.
    pub(crate) fn column(table: &'static str, column: ColumnDef) -> Self {
        Self::Column(table, Box::new(column))
    }

    /// A plain index over these columns.
    pub(crate) fn index<const N: usize>(name: &'static str, table: &'static str, columns: [&'static str; N]) -> Self {
        Self::Index(Box::new(index(name, table, columns)))
    }

    /// An index that refuses a second row with the same values.
    pub(crate) fn unique<const N: usize>(name: &'static str, table: &'static str, columns: [&'static str; N]) -> Self {
        Self::Index(Box::new(index(name, table, columns).unique().to_owned()))
    }

    /// What only PostgreSQL is told.
    pub(crate) const fn postgres(statement: &'static str) -> Self {
        Self::Only(DbBackend::Postgres, statement)
    }

    /// What only SQLite is told.
    pub(crate) const fn sqlite(statement: &'static str) -> Self {
        Self::Only(DbBackend::Sqlite, statement)
    }

    fn with_table(mut self, change: impl FnOnce(&'static str, &mut TableCreateStatement)) -> Self {
        if let Self::Table(name, table) = &mut self {
            change(name, table);
        }
        self
    }
}

/// Only PostgreSQL could be told to add a column unless it is there.
async fn add_column(manager: &SchemaManager<'_>, table: &'static str, mut column: ColumnDef) -> Result<(), DbErr> {
    if manager.has_column(table, column.get_column_name()).await? {
        return Ok(());
    }
    manager.alter_table(Table::alter().table(table).add_column(&mut column).to_owned()).await
}

fn index<const N: usize>(name: &'static str, table: &'static str, columns: [&'static str; N]) -> IndexCreateStatement {
    let mut index = Index::create().name(name).table(table).if_not_exists().to_owned();
    for column in columns {
        index.col(column);
    }
    index
}
