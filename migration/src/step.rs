//! One statement of a migration, as a value: so that a test can stop between any two of them.

use sea_orm_migration::prelude::*;

/// One statement. It must be harmless to run it again.
#[derive(Debug)]
pub enum Step {
    /// Creates a table unless it is there.
    Table(Box<TableCreateStatement>),
    /// Creates an index unless it is there.
    Index(Box<IndexCreateStatement>),
}

impl Step {
    /// Runs the statement.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn run(self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        match self {
            Self::Table(statement) => manager.create_table(*statement).await,
            Self::Index(statement) => manager.create_index(*statement).await,
        }
    }

    /// A table with these columns.
    pub(crate) fn table<const N: usize>(name: &'static str, columns: [ColumnDef; N]) -> Self {
        Self::Table(Box::new(table(name, columns)))
    }

    /// A table whose rows are deleted with the row of `owner` whose id is in `column`.
    pub(crate) fn table_owned_by<const N: usize>(
        owner: &'static str,
        column: &'static str,
        name: &'static str,
        columns: [ColumnDef; N],
    ) -> Self {
        let mut key =
            ForeignKey::create().from(name, column).to(owner, "id").on_delete(ForeignKeyAction::Cascade).to_owned();
        Self::Table(Box::new(table(name, columns).foreign_key(&mut key).to_owned()))
    }

    /// A plain index over these columns.
    pub(crate) fn index<const N: usize>(name: &'static str, table: &'static str, columns: [&'static str; N]) -> Self {
        Self::Index(Box::new(index(name, table, columns)))
    }

    /// An index that refuses a second row with the same values.
    pub(crate) fn unique<const N: usize>(name: &'static str, table: &'static str, columns: [&'static str; N]) -> Self {
        Self::Index(Box::new(index(name, table, columns).unique().to_owned()))
    }
}

fn table<const N: usize>(name: &'static str, columns: [ColumnDef; N]) -> TableCreateStatement {
    let mut table = Table::create().table(name).if_not_exists().to_owned();
    for column in columns {
        table.col(column);
    }
    table
}

fn index<const N: usize>(name: &'static str, table: &'static str, columns: [&'static str; N]) -> IndexCreateStatement {
    let mut index = Index::create().name(name).table(table).if_not_exists().to_owned();
    for column in columns {
        index.col(column);
    }
    index
}
