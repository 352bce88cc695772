//! What has to be there before anybody can log in.

use kilonova_db::DbError;
use kilonova_db::identity::Transaction;
use kilonova_db::identity::assignments::{self, Assignment, Target};
use kilonova_db::identity::domains::{self, Domain};
use kilonova_db::identity::projects::{self, Project};
use kilonova_db::identity::roles::{self, ImpliedRole, Role};
use kilonova_db::identity::users::{self, User};
use serde_json::json;
use uuid::Uuid;

use super::{IdentityError, IdentityService};

/// Id of the first domain, in Keystone and here.
pub(crate) const DEFAULT_DOMAIN_ID: &str = "default";

/// Each implies the next.
const ROLE_CHAIN: [&str; 4] = ["admin", "manager", "member", "reader"];
const SERVICE_ROLE: &str = "service";
/// As whom Nova's services log in, by OpenStack's convention.
const SERVICE_USER: &str = "nova";

/// What [`IdentityService::bootstrap`] needs to know.
#[derive(Clone)]
pub struct Bootstrap {
    /// Password of the user `admin`, if that user has to be made.
    pub admin_password: String,
    /// Password of the user `demo`, if that user has to be made.
    pub demo_password: String,
    /// Password of the user `nova`, as whom the services of this cloud speak to each other; none: no such user is made.
    pub service_password: Option<String>,
}

impl std::fmt::Debug for Bootstrap {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Bootstrap").finish_non_exhaustive()
    }
}

/// Ids of what is there after a bootstrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrapped {
    /// The domain `Default`.
    pub domain_id: String,
    /// The project `admin`.
    pub admin_project_id: String,
    /// The project `demo`.
    pub demo_project_id: String,
    /// The project `service`.
    pub service_project_id: String,
    /// The user `admin`.
    pub admin_user_id: String,
    /// The user `demo`.
    pub demo_user_id: String,
}

impl IdentityService {
    /// Makes what is missing of: the domain `Default`; the roles admin, manager, member, reader (each implies the next)
    /// and service; the projects admin, demo and service; the user admin with the role admin on project and system; the
    /// user demo with the role member on its project; if asked for, the user nova with the roles admin and service on
    /// the project service.
    ///
    /// What is there stays as it is, passwords included: keep the passwords before calling this for the first time.
    pub async fn bootstrap(&self, wanted: &Bootstrap) -> Result<Bootstrapped, IdentityError> {
        // Before the transaction: hashing must not hold up the only writer.
        let admin_hash = self.hash_for_new("admin", &wanted.admin_password).await?;
        let demo_hash = self.hash_for_new("demo", &wanted.demo_password).await?;
        let service_hash = match &wanted.service_password {
            Some(password) => Some(self.hash_for_new(SERVICE_USER, password).await?),
            None => None,
        };
        let hashes = Hashes { admin: admin_hash, demo: demo_hash, service: service_hash };
        let write = || async {
            let tx = self.db.begin().await?;
            let bootstrapped = make(&tx, hashes.clone()).await?;
            self.commit(tx).await?;
            Ok::<_, IdentityError>(bootstrapped)
        };
        self.db.retry_idempotent(write).await
    }

    /// The hash of `password` if there is no such user yet.
    async fn hash_for_new(&self, name: &str, password: &str) -> Result<Option<String>, IdentityError> {
        match users::fetch_by_name(self.db.read(), DEFAULT_DOMAIN_ID, name).await {
            Ok(_) => Ok(None),
            Err(DbError::NotFound { .. }) => Ok(Some(self.passwords.hash(password.to_owned()).await?)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Of the passwords of users who were not there.
#[derive(Clone)]
struct Hashes {
    admin: Option<String>,
    demo: Option<String>,
    /// None: there shall be no such user.
    service: Option<Option<String>>,
}

async fn make(tx: &Transaction, hashes: Hashes) -> Result<Bootstrapped, IdentityError> {
    domain(tx).await?;
    let mut role_ids = Vec::new();
    for name in ROLE_CHAIN {
        role_ids.push(role(tx, name).await?);
    }
    let service = role(tx, SERVICE_ROLE).await?;
    for pair in role_ids.windows(2) {
        let implication = ImpliedRole { prior_role_id: pair[0].clone(), implied_role_id: pair[1].clone() };
        roles::imply(tx, implication).await?;
    }
    let bootstrapped = Bootstrapped {
        domain_id: DEFAULT_DOMAIN_ID.to_owned(),
        admin_project_id: project(tx, "admin", "Bootstrap project for initializing the cloud.").await?,
        demo_project_id: project(tx, "demo", "").await?,
        service_project_id: project(tx, "service", "").await?,
        admin_user_id: user(tx, "admin", hashes.admin).await?,
        demo_user_id: user(tx, "demo", hashes.demo).await?,
    };
    let (admin, member) = (&role_ids[0], &role_ids[2]);
    let mut grants = vec![
        (&bootstrapped.admin_user_id, admin, Target::Project(bootstrapped.admin_project_id.clone())),
        (&bootstrapped.admin_user_id, admin, Target::System),
        (&bootstrapped.demo_user_id, member, Target::Project(bootstrapped.demo_project_id.clone())),
    ];
    let service_user_id = match hashes.service {
        Some(hash) => Some(user(tx, SERVICE_USER, hash).await?),
        None => None,
    };
    if let Some(user_id) = &service_user_id {
        let project = || Target::Project(bootstrapped.service_project_id.clone());
        grants.extend([(user_id, admin, project()), (user_id, &service, project())]);
    }
    for (user_id, role_id, target) in grants {
        let assignment = Assignment { user_id: user_id.clone(), role_id: role_id.clone(), target };
        assignments::grant(tx, assignment).await?;
    }
    Ok(bootstrapped)
}

/// Who finds a name taken that was free just now was overtaken by another process, and looks again.
fn overtaken(error: DbError) -> DbError {
    match error {
        DbError::Exists { .. } => DbError::Overtaken,
        other => other,
    }
}

async fn domain(tx: &Transaction) -> Result<(), IdentityError> {
    match domains::fetch(tx, DEFAULT_DOMAIN_ID).await {
        Err(DbError::NotFound { .. }) => {
            let domain = Domain {
                id: DEFAULT_DOMAIN_ID.to_owned(),
                name: "Default".to_owned(),
                description: "The default domain".to_owned(),
                enabled: true,
                options: json!({}),
                extra: json!({}),
            };
            Ok(domains::create(tx, domain).await.map_err(overtaken)?)
        }
        found => Ok(found.map(|_| ())?),
    }
}

async fn role(tx: &Transaction, name: &str) -> Result<String, IdentityError> {
    if let Some(role) = roles::list(tx, Some(name)).await?.pop() {
        return Ok(role.id);
    }
    let id = new_id();
    // As `keystone-manage bootstrap` makes them: nobody removes the role that everything else hangs on by mistake.
    let options = json!({"immutable": true});
    let role = Role { id: id.clone(), name: name.to_owned(), description: None, options, extra: json!({}) };
    roles::create(tx, role).await.map_err(overtaken)?;
    Ok(id)
}

async fn project(tx: &Transaction, name: &str, description: &str) -> Result<String, IdentityError> {
    match projects::fetch_by_name(tx, DEFAULT_DOMAIN_ID, name).await {
        Err(DbError::NotFound { .. }) => {
            let project = Project {
                id: new_id(),
                domain_id: DEFAULT_DOMAIN_ID.to_owned(),
                parent_id: None,
                name: name.to_owned(),
                description: description.to_owned(),
                enabled: true,
                tags: json!([]),
                options: json!({}),
                extra: json!({}),
            };
            let id = project.id.clone();
            projects::create(tx, project).await.map_err(overtaken)?;
            Ok(id)
        }
        found => Ok(found?.id),
    }
}

async fn user(tx: &Transaction, name: &str, password_hash: Option<String>) -> Result<String, IdentityError> {
    match users::fetch_by_name(tx, DEFAULT_DOMAIN_ID, name).await {
        Err(DbError::NotFound { .. }) => {
            let user = User {
                id: new_id(),
                domain_id: DEFAULT_DOMAIN_ID.to_owned(),
                name: name.to_owned(),
                password_hash,
                enabled: true,
                default_project_id: None,
                token_generation: 0,
                options: json!({}),
                extra: json!({}),
            };
            let id = user.id.clone();
            users::create(tx, user).await.map_err(overtaken)?;
            Ok(id)
        }
        found => Ok(found?.id),
    }
}

/// A UUID without hyphens, as Keystone makes ids.
pub(crate) fn new_id() -> String {
    Uuid::new_v4().simple().to_string()
}
