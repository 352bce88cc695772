//! The schema, step by step. A released step is never changed; a change is a new step at the end.

use sea_orm_migration::{MigrationTrait, MigratorTrait};

mod m0001_compute;
mod m0002_identity;
mod m0003_image;
mod m0004_network;
mod m0005_placement;

pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_compute::Migration),
            Box::new(m0002_identity::Migration),
            Box::new(m0003_image::Migration),
            Box::new(m0004_network::Migration),
            Box::new(m0005_placement::Migration),
        ]
    }
}
