//! The tables of image.
#![allow(missing_docs, unreachable_pub, reason = "the derives of sea-orm make public items without docs")]

pub(super) mod image {
    use std::collections::{BTreeMap, BTreeSet};

    use chrono::{DateTime, Utc};
    use sea_orm::FromJsonQueryResult;
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    /// An image without its bytes.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "images")]
    pub struct Model {
        /// Its id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        /// Its name, if it has one.
        pub name: Option<String>,
        /// `queued`, `saving`, `active`, `deactivated`.
        pub status: String,
        /// `public`, `private`, `shared`, `community`.
        pub visibility: String,
        /// Cannot be deleted.
        pub is_protected: bool,
        /// Not in lists unless asked for.
        pub is_hidden: bool,
        /// MD5 in hex.
        pub checksum: Option<String>,
        /// `sha512`.
        pub os_hash_algo: Option<String>,
        /// That hash in hex.
        pub os_hash_value: Option<String>,
        /// Project id; none for an image of the cloud itself.
        pub owner: Option<String>,
        /// Bytes as stored.
        pub size: Option<i64>,
        /// Bytes of the disk that a guest sees.
        pub virtual_size: Option<i64>,
        /// `bare`, …
        pub container_format: Option<String>,
        /// `raw`, `qcow2`, …
        pub disk_format: Option<String>,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// When it was changed.
        pub updated_at: DateTime<Utc>,
        /// GiB.
        pub min_disk: i64,
        /// MiB.
        pub min_ram: i64,
        /// Tags.
        pub tags: Tags,
        /// Everything else: `hw_*`, `os_*`, the user's own.
        pub properties: Properties,
    }

    /// Tags of an image, each once.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
    pub struct Tags(pub BTreeSet<String>);

    /// Further properties of an image.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
    pub struct Properties(pub BTreeMap<String, String>);

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod member {
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    /// A project that a shared image is offered to.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "image_members")]
    pub struct Model {
        /// The image.
        #[sea_orm(primary_key, auto_increment = false)]
        pub image_id: Uuid,
        /// The project.
        #[sea_orm(primary_key, auto_increment = false)]
        pub member: String,
        /// `pending`, `accepted`, `rejected`.
        pub status: String,
        /// When it was offered.
        pub created_at: DateTime<Utc>,
        /// When the status was changed.
        pub updated_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
