//! select_destinations: host state, filters, weighers, claims
