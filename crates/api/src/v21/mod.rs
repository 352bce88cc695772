//! The handlers of the v2.1 API: one module per resource, one file per verb. A handler parses, authorises, calls and
//! renders.

pub(crate) mod servers;
