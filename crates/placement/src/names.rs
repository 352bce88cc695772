//! Names of resource classes and traits: what is well formed, which everybody knows, and which somebody added.

use kilonova_db::placement::{self as rows, Names};
use kilonova_db::{Db, DbError, Reader, Transaction};

use crate::PlacementError;
use crate::standard_traits::STANDARD_TRAITS;

/// The classes of os-resource-classes; every other class is `CUSTOM_…`.
pub(crate) const STANDARD_CLASSES: [&str; 21] = [
    "VCPU",
    "MEMORY_MB",
    "DISK_GB",
    "PCI_DEVICE",
    "SRIOV_NET_VF",
    "NUMA_SOCKET",
    "NUMA_CORE",
    "NUMA_THREAD",
    "NUMA_MEMORY_MB",
    "IPV4_ADDRESS",
    "VGPU",
    "VGPU_DISPLAY_HEAD",
    "NET_BW_EGR_KILOBIT_PER_SEC",
    "NET_BW_IGR_KILOBIT_PER_SEC",
    "PCPU",
    "MEM_ENCRYPTION_CONTEXT",
    "FPGA",
    "PGPU",
    "NET_PACKET_RATE_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC",
];

const CUSTOM_PREFIX: &str = "CUSTOM_";
const MAX_LEN: usize = 255;

/// Upper case letters, digits and underscores, at most 255 of them.
pub(crate) fn is_well_formed(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.len() <= MAX_LEN && name.bytes().all(known)
}

/// A name of the operator's own, of a class or a trait.
pub(crate) fn is_custom(name: &str) -> bool {
    is_well_formed(name) && name.strip_prefix(CUSTOM_PREFIX).is_some_and(|rest| !rest.is_empty())
}

/// Whether everybody knows it.
pub(crate) fn is_standard(kind: Names, name: &str) -> bool {
    match kind {
        Names::Traits => STANDARD_TRAITS.binary_search(&name).is_ok(),
        Names::ResourceClasses => STANDARD_CLASSES.contains(&name),
    }
}

/// Refuses names that are neither standard nor somebody's own.
pub(crate) async fn check(
    conn: &Reader,
    kind: Names,
    names: impl IntoIterator<Item = &str>,
) -> Result<(), PlacementError> {
    let own = own(kind, names);
    refuse_unknown(kind, &own, &rows::known_names(conn, kind, &own).await?)
}

/// The same; those that are somebody's own stay until the transaction ends.
pub(crate) async fn hold(
    tx: &Transaction,
    kind: Names,
    names: impl IntoIterator<Item = &str>,
) -> Result<(), PlacementError> {
    let own = own(kind, names);
    refuse_unknown(kind, &own, &rows::lock_names(tx, kind, &own).await?)
}

/// The same, but custom names that nobody has added are added.
pub(crate) async fn declare(
    tx: &Transaction,
    kind: Names,
    names: impl IntoIterator<Item = &str>,
) -> Result<(), PlacementError> {
    let own = own(kind, names);
    if let Some(unknown) = own.iter().find(|name| !is_custom(name)) {
        return Err(unknown_name(kind, (*unknown).to_owned()));
    }
    rows::create_names(tx, kind, &own).await?;
    Ok(())
}

/// Adds a custom name; whether it was not there.
pub(crate) async fn create(db: &Db, kind: Names, name: &str) -> Result<bool, PlacementError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let is_new = rows::lock_names(&tx, kind, &[name]).await?.is_empty();
        rows::create_names(&tx, kind, &[name]).await?;
        tx.commit().await?;
        Ok(is_new)
    })
    .await
}

/// Takes away a custom name; `false`: some provider is, or has, something called so.
pub(crate) async fn delete(db: &Db, kind: Names, name: &str) -> Result<bool, PlacementError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        rows::lock_names(&tx, kind, &[name]).await?;
        let is_in_use = match kind {
            Names::Traits => rows::trait_sets(&tx).await?.iter().flatten().any(|used| used == name),
            Names::ResourceClasses => rows::has_inventory(&tx, name).await?,
        };
        if !is_in_use {
            rows::delete_name(&tx, kind, name).await?;
            tx.commit().await?;
        }
        Ok(!is_in_use)
    })
    .await
}

/// Gives a custom class another name, also where it is in use; `false`: the other name is taken.
pub(crate) async fn rename_class(db: &Db, from: &str, to: &str) -> Result<bool, PlacementError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        rows::lock_names(&tx, Names::ResourceClasses, &[from]).await?;
        match rows::rename(&tx, Names::ResourceClasses, from, to).await {
            Err(DbError::Exists { .. }) => return Ok(false),
            renamed => renamed?,
        }
        rows::rename_resource_class(&tx, from, to).await?;
        tx.commit().await?;
        Ok(true)
    })
    .await
}

/// Standard names in the order of their libraries, then the others, the oldest first.
pub(crate) async fn all(conn: &Reader, kind: Names) -> Result<Vec<String>, DbError> {
    let standard: &[&str] = match kind {
        Names::Traits => &STANDARD_TRAITS,
        Names::ResourceClasses => &STANDARD_CLASSES,
    };
    let mut names: Vec<String> = standard.iter().map(|name| (*name).to_owned()).collect();
    names.extend(rows::custom_names(conn, kind).await?);
    Ok(names)
}

/// Those that are not standard, sorted, each once.
fn own<'a>(kind: Names, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut own: Vec<&str> = names.into_iter().filter(|name| !is_standard(kind, name)).collect();
    own.sort_unstable();
    own.dedup();
    own
}

fn refuse_unknown(kind: Names, names: &[&str], known: &[String]) -> Result<(), PlacementError> {
    let unknown: Vec<&str> = names.iter().copied().filter(|name| !known.iter().any(|known| known == name)).collect();
    match unknown.first() {
        None => Ok(()),
        Some(first) if kind == Names::ResourceClasses => Err(unknown_name(kind, (*first).to_owned())),
        Some(_) => Err(unknown_name(kind, unknown.join(", "))),
    }
}

fn unknown_name(kind: Names, name: String) -> PlacementError {
    match kind {
        Names::Traits => PlacementError::UnknownTrait(name),
        Names::ResourceClasses => PlacementError::UnknownClass(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_name_has_the_prefix_and_something_behind_it() {
        for good in ["CUSTOM_GOLD", "CUSTOM_1"] {
            assert!(is_custom(good), "{good}");
        }
        let too_long = format!("CUSTOM_{}", "A".repeat(249));
        for bad in ["", "VCPU", "GOLD", "CUSTOM_", "CUSTOM_gold", "CUSTOM GOLD", "CUSTOM_A,CUSTOM_B", &too_long] {
            assert!(!is_custom(bad), "{bad:?}");
        }
    }

    #[test]
    fn standard_traits_are_sorted_so_that_they_are_found() {
        assert!(STANDARD_TRAITS.is_sorted());
        for name in ["COMPUTE_STATUS_DISABLED", "HW_CPU_X86_AVX2", "MISC_SHARES_VIA_AGGREGATE", "OWNER_NOVA"] {
            assert!(is_standard(Names::Traits, name), "{name}");
        }
        assert!(!is_standard(Names::Traits, "VCPU"));
    }
}
