//! What the first bytes of a disk tell.

/// How many of them are looked at.
pub(super) const HEAD_LENGTH: usize = 32;

/// Bytes of the disk that a guest sees; none if the format does not tell here, or the bytes are not of that format.
pub(super) fn virtual_size(disk_format: Option<&str>, head: &[u8], size: u64) -> Option<u64> {
    match disk_format? {
        "raw" | "iso" | "ami" => Some(size),
        "qcow2" => qcow2_size(head),
        _ => None,
    }
}

/// Magic at 0, version at 4, size at 24, all big-endian.
fn qcow2_size(head: &[u8]) -> Option<u64> {
    if !head.starts_with(b"QFI\xfb") {
        return None;
    }
    head.get(24..32)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_qcow2_is_in_its_header_and_rubbish_has_none() {
        let mut head = b"QFI\xfb\0\0\0\x03".to_vec();
        head.extend([0; 16]);
        head.extend(5_368_709_120_u64.to_be_bytes());
        assert_eq!(virtual_size(Some("qcow2"), &head, 999), Some(5_368_709_120));
        assert_eq!(virtual_size(Some("qcow2"), &head[..31], 31), None);
        assert_eq!(virtual_size(Some("qcow2"), b"rubbish", 7), None);
        assert_eq!(virtual_size(Some("raw"), b"rubbish", 7), Some(7));
        assert_eq!(virtual_size(None, b"rubbish", 7), None);
    }
}
