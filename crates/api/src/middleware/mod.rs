//! What happens to every request before a handler sees it, one concern per file: [`request_id`], [`limits`],
//! [`authenticate`], [`negotiate`]. Plain functions, called in order by `dispatch`.

pub(crate) mod authenticate;
pub(crate) mod limits;
pub(crate) mod negotiate;
pub(crate) mod request_id;
