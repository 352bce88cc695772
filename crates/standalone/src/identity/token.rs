//! What a token says, and its compact form inside the Fernet envelope.
//!
//! ```text
//!   version methods  user  scope        generation  issued_at  expires_at  audit_id  [parent_audit_id]
//!   1       1        id    1 + [id]     4           8          8           16        16
//!
//!   id: 0 and the 16 bytes of a UUID, or its length (1 to 32) and its bytes
//! ```
//!
//! Integers are big endian. Two UUIDs and a parent make a token of 204 characters, and Keystone's limit is 255.

use uuid::Uuid;

/// Format of the payload; another number is another format.
const VERSION: u8 = 1;
/// The longest id that is not a UUID.
const MAX_TEXT_ID: usize = 32;

const METHOD_PASSWORD: u8 = 1;
const METHOD_TOKEN: u8 = 2;

/// How the bearer proved who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Methods(u8);

impl Methods {
    pub(crate) fn with_password(self) -> Self {
        Self(self.0 | METHOD_PASSWORD)
    }

    pub(crate) fn with_token(self) -> Self {
        Self(self.0 | METHOD_TOKEN)
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn names(self) -> Vec<&'static str> {
        let all = [(METHOD_TOKEN, "token"), (METHOD_PASSWORD, "password")];
        all.into_iter().filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| name).collect()
    }
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Unscoped,
    Project(String),
    Domain(String),
    System,
}

/// The content of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) methods: Methods,
    pub(crate) user_id: String,
    pub(crate) scope: Scope,
    /// The generation of the user's tokens that this one belongs to.
    pub(crate) generation: i32,
    /// Seconds since the epoch.
    pub(crate) issued_at: i64,
    /// Seconds since the epoch.
    pub(crate) expires_at: i64,
    pub(crate) audit_id: Uuid,
    /// The token at the root of the chain of rescoped ones; revoking it revokes them all.
    pub(crate) parent_audit_id: Option<Uuid>,
}

impl Claims {
    /// The payload; `None` when an id is too long for it.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut payload = vec![VERSION, self.methods.0];
        put_id(&mut payload, &self.user_id)?;
        match &self.scope {
            Scope::Unscoped => payload.push(0),
            Scope::Project(id) => {
                payload.push(1);
                put_id(&mut payload, id)?;
            }
            Scope::Domain(id) => {
                payload.push(2);
                put_id(&mut payload, id)?;
            }
            Scope::System => payload.push(3),
        }
        payload.extend_from_slice(&self.generation.to_be_bytes());
        payload.extend_from_slice(&self.issued_at.to_be_bytes());
        payload.extend_from_slice(&self.expires_at.to_be_bytes());
        payload.extend_from_slice(self.audit_id.as_bytes());
        if let Some(parent) = &self.parent_audit_id {
            payload.extend_from_slice(parent.as_bytes());
        }
        Some(payload)
    }

    /// The claims; `None` when it is no payload of this version.
    pub(crate) fn decode(mut payload: &[u8]) -> Option<Self> {
        let rest = &mut payload;
        let [version, methods] = take::<2>(rest)?;
        if version != VERSION {
            return None;
        }
        let user_id = take_id(rest)?;
        let scope = match take::<1>(rest)? {
            [0] => Scope::Unscoped,
            [1] => Scope::Project(take_id(rest)?),
            [2] => Scope::Domain(take_id(rest)?),
            [3] => Scope::System,
            _ => return None,
        };
        let claims = Self {
            methods: Methods(methods),
            user_id,
            scope,
            generation: i32::from_be_bytes(take(rest)?),
            issued_at: i64::from_be_bytes(take(rest)?),
            expires_at: i64::from_be_bytes(take(rest)?),
            audit_id: Uuid::from_bytes(take(rest)?),
            parent_audit_id: if rest.is_empty() { None } else { Some(Uuid::from_bytes(take(rest)?)) },
        };
        rest.is_empty().then_some(claims)
    }
}

fn put_id(payload: &mut Vec<u8>, id: &str) -> Option<()> {
    match Uuid::try_parse(id) {
        Ok(uuid) if uuid.simple().to_string() == id => {
            payload.push(0);
            payload.extend_from_slice(uuid.as_bytes());
        }
        _ if (1..=MAX_TEXT_ID).contains(&id.len()) => {
            payload.push(u8::try_from(id.len()).ok()?);
            payload.extend_from_slice(id.as_bytes());
        }
        _ => return None,
    }
    Some(())
}

fn take_id(payload: &mut &[u8]) -> Option<String> {
    match take::<1>(payload)? {
        [0] => Some(Uuid::from_bytes(take(payload)?).simple().to_string()),
        [length] => {
            let (text, rest) = payload.split_at_checked(usize::from(length))?;
            *payload = rest;
            String::from_utf8(text.to_vec()).ok()
        }
    }
}

fn take<const N: usize>(payload: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = payload.split_first_chunk::<N>()?;
    *payload = rest;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(user_id: &str, scope: Scope) -> Claims {
        Claims {
            methods: Methods::default().with_password(),
            user_id: user_id.to_owned(),
            scope,
            generation: 7,
            issued_at: 1_795_000_000,
            expires_at: 1_795_003_600,
            audit_id: Uuid::from_u128(1),
            parent_audit_id: Some(Uuid::from_u128(2)),
        }
    }

    #[test]
    fn every_scope_survives_the_round_trip() {
        let user = Uuid::from_u128(42).simple().to_string();
        let scopes = [
            Scope::Unscoped,
            Scope::Project(Uuid::from_u128(43).simple().to_string()),
            Scope::Domain("default".to_owned()),
            Scope::System,
        ];
        for scope in scopes {
            let with_parent = claims(&user, scope);
            let root = Claims { parent_audit_id: None, ..with_parent.clone() };
            assert_eq!(Claims::decode(&with_parent.encode().unwrap()), Some(with_parent));
            assert_eq!(Claims::decode(&root.encode().unwrap()), Some(root));
        }
    }

    #[test]
    fn a_payload_that_is_cut_extended_or_of_another_version_is_refused() {
        let payload = claims("default", Scope::System).encode().unwrap();
        for cut in 0..payload.len() {
            let is_root = cut == payload.len() - 16;
            assert_eq!(Claims::decode(&payload[..cut]).is_some(), is_root, "cut at {cut}");
        }
        assert_eq!(Claims::decode(&[payload.as_slice(), &[0]].concat()), None);
        assert_eq!(Claims::decode(&[&[VERSION + 1], &payload[1..]].concat()), None);
    }

    #[test]
    fn an_id_that_is_no_uuid_is_limited_in_length() {
        assert!(claims(&"x".repeat(32), Scope::System).encode().is_some());
        assert!(claims(&"x".repeat(33), Scope::System).encode().is_none());
        assert!(claims("", Scope::System).encode().is_none());
        // Upper case is another id than the same UUID in lower case.
        let upper = claims("ABCDEFABCDEFABCDEFABCDEFABCDEFAB", Scope::System);
        assert_eq!(Claims::decode(&upper.encode().unwrap()), Some(upper));
    }

    #[test]
    fn the_largest_token_is_shorter_than_keystones_limit() {
        let id = Uuid::from_u128(u128::MAX).simple().to_string();
        let payload = claims(&id, Scope::Project(id.clone())).encode().unwrap();
        let fernet = fernet::Fernet::new(&fernet::Fernet::generate_key()).unwrap();
        assert_eq!(fernet.encrypt(&payload).len(), 204);
    }

    #[test]
    fn methods_are_named_and_merged() {
        assert_eq!(Methods::default().with_password().names(), ["password"]);
        assert_eq!(
            Methods::default().with_password().union(Methods::default().with_token()).names(),
            ["token", "password"]
        );
    }
}
