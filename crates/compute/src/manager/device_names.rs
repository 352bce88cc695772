//! Names of disks as guests may see them: `/dev/vdb`. A name is what was asked for, with the prefix that the instance's
//! disks have, or the first that no disk has.

use kilonova_objects::{BlockDeviceMapping, Instance};

/// What an instance's first disk is called if nobody says otherwise: Nova's default.
const DEFAULT_ROOT: &str = "/dev/sda1";

/// Why a disk cannot have a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What was asked for is no name of a disk.
    Invalid(String),
    /// Another disk has it.
    InUse(String),
    /// `[compute] max_disk_devices_to_attach`
    TooMany(i64),
}

/// The name of one disk more than `disks`. `requested`: the name that was asked for. `most`: how many disks there may be;
/// any number where it is negative.
pub(super) fn next(
    instance: &Instance,
    disks: &[BlockDeviceMapping],
    requested: Option<&str>,
    most: i64,
) -> Result<String, Refusal> {
    let invalid = |name: &str| Refusal::Invalid(name.to_owned());
    let wanted = requested.map(|name| split(name).ok_or_else(|| invalid(name))).transpose()?;
    let root = instance.root_device_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(DEFAULT_ROOT);
    let root = format!("/dev/{}", root.trim_start_matches("/dev/"));
    let (prefix, _) = split(&root).ok_or_else(|| invalid(&root))?;

    let mut used: Vec<String> = vec![letters(&root)];
    used.extend(disks.iter().filter_map(|disk| disk.device_name.as_deref()).map(letters));
    // A disk that nobody has named yet is behind the root disk, in the order of creation.
    let is_unnamed = |disk: &&BlockDeviceMapping| disk.device_name.is_none() && disk.boot_index != Some(0);
    for _ in disks.iter().filter(is_unnamed) {
        used.push(unused(&used));
    }
    used.sort_unstable();
    used.dedup();
    if most >= 0 && i64::try_from(used.len() + 1).is_ok_and(|count| count > most) {
        return Err(Refusal::TooMany(most));
    }
    match (wanted, requested) {
        (Some((_, wanted)), Some(name)) if used.iter().any(|used| used == wanted) => {
            Err(Refusal::InUse(name.to_owned()))
        }
        (Some((_, wanted)), _) => Ok(format!("{prefix}{wanted}")),
        (None, _) => Ok(format!("{prefix}{}", unused(&used))),
    }
}

/// `/dev/xvdb1` is `/dev/xvd` and `b`: Nova's pattern `(^/dev/x{0,1}[a-z]{0,1}d{0,1})([a-z]+)[0-9]*$`.
fn split(name: &str) -> Option<(&str, &str)> {
    let whole = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let word = whole.strip_prefix("/dev/").filter(|word| !word.is_empty())?;
    if !word.bytes().all(|letter| letter.is_ascii_lowercase()) {
        return None;
    }
    let x = usize::from(word.starts_with('x'));
    let any = usize::from(word.len() > x);
    let d = usize::from(word[x + any..].starts_with('d'));
    // Of the parts that need not be there, the last ones give way until a letter is left.
    let longest = x + any + d;
    let prefix = longest.min(word.len() - 1);
    Some(whole.split_at("/dev/".len() + prefix))
}

/// `b` of `/dev/vdb1` or `sdb`.
fn letters(name: &str) -> String {
    let name = name.trim_start_matches("/dev/");
    let name = ["xvd", "vd", "sd", "hd"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    name.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

fn unused(used: &[String]) -> String {
    let mut number = 0;
    loop {
        let letters = numbered(number);
        if !used.contains(&letters) {
            return letters;
        }
        number += 1;
    }
}

/// `a` to `z`, then `aa`, `ab`, …
fn numbered(number: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(number % 26).unwrap_or_default());
    match number / 26 {
        0 => letter.to_string(),
        before => format!("{}{letter}", numbered(before - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> BlockDeviceMapping {
        BlockDeviceMapping { device_name: Some(name.to_owned()), ..BlockDeviceMapping::default() }
    }

    fn local(boot_index: i64) -> BlockDeviceMapping {
        BlockDeviceMapping { boot_index: Some(boot_index), ..BlockDeviceMapping::default() }
    }

    fn with_root(root: &str) -> Instance {
        Instance { root_device_name: Some(root.to_owned()), ..Instance::default() }
    }

    #[test]
    fn the_first_free_name_has_the_prefix_of_the_root_disk() {
        let vda = with_root("/dev/vda");
        assert_eq!(next(&vda, &[local(0)], None, -1).unwrap(), "/dev/vdb");
        assert_eq!(next(&vda, &[local(0), local(-1), named("/dev/vdc")], None, -1).unwrap(), "/dev/vdd");
        assert_eq!(next(&vda, &[named("/dev/vdc")], None, -1).unwrap(), "/dev/vdb");
        assert_eq!(next(&Instance::default(), &[], None, -1).unwrap(), "/dev/sdb");
        assert_eq!(next(&with_root("xvda"), &[], None, -1).unwrap(), "/dev/xvdb");
    }

    #[test]
    fn what_is_asked_for_is_taken_unless_a_disk_has_it() {
        let vda = with_root("/dev/vda");
        assert_eq!(next(&vda, &[], Some("/dev/sdf1"), -1).unwrap(), "/dev/vdf");
        assert_eq!(next(&vda, &[], Some("/dev/vda"), -1), Err(Refusal::InUse("/dev/vda".to_owned())));
        assert_eq!(next(&vda, &[named("/dev/vdc")], Some("/dev/sdc"), -1), Err(Refusal::InUse("/dev/sdc".to_owned())));
        for invalid in ["vdb", "/dev/", "/dev/1", "/dev/vd-b", "/dev/VDB"] {
            assert_eq!(next(&vda, &[], Some(invalid), -1), Err(Refusal::Invalid(invalid.to_owned())));
        }
    }

    #[test]
    fn there_may_be_only_so_many() {
        let vda = with_root("/dev/vda");
        assert_eq!(next(&vda, &[], None, 2).unwrap(), "/dev/vdb");
        assert_eq!(next(&vda, &[named("/dev/vdb")], None, 2), Err(Refusal::TooMany(2)));
    }

    #[test]
    fn names_are_split_as_novas_pattern_splits_them() {
        for (name, prefix, letters) in [
            ("/dev/vdb", "/dev/vd", "b"),
            ("/dev/xvdb", "/dev/xvd", "b"),
            ("/dev/sda1", "/dev/sd", "a"),
            ("/dev/vd", "/dev/v", "d"),
            ("/dev/b", "/dev/", "b"),
            ("/dev/sdaa", "/dev/sd", "aa"),
        ] {
            assert_eq!(split(name), Some((prefix, letters)), "{name}");
        }
        let names: Vec<String> = [0, 25, 26, 51, 52, 701, 702].into_iter().map(numbered).collect();
        assert_eq!(names, ["a", "z", "aa", "az", "ba", "zz", "aaa"]);
    }
}
