//! Files: which are read, in which order, and when again.

use std::time::SystemTime;

use tempfile::TempDir;

use super::*;

const RULE: &str = "os_compute_api:servers:show";

/// A directory with a `nova.conf`.
struct Etc {
    dir: TempDir,
}

impl Etc {
    fn new(options: &str) -> Self {
        let etc = Self { dir: TempDir::new().unwrap() };
        etc.write("nova.conf", &format!("[oslo_policy]\n{options}"));
        etc
    }

    /// Writes a file with a time of its own, whatever the file system's clock can tell apart.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn load(&self) -> Result<Policy, PolicyError> {
        Policy::load(&Config::load(&[self.dir.path().join("nova.conf")], &[]).unwrap())
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.dir.path().join(name)).unwrap();
    }
}

fn says(role: &str) -> String {
    format!("\"{RULE}\": \"role:{role}\"\n")
}

/// The roles of `x`, `y` and `z` that the rule lets through.
fn allowed(policy: &Policy) -> Vec<&'static str> {
    let is_allowed = |role: &&str| {
        let context = RequestContext { roles: vec![(*role).to_owned()], ..RequestContext::new("u", "p") };
        policy.allows(RULE, &context, Target { project_id: "p", user_id: "u" })
    };
    ["reader", "x", "y", "z"].into_iter().filter(is_allowed).collect()
}

#[test]
fn without_a_file_the_defaults_hold() {
    assert_eq!(allowed(&Etc::new("").load().unwrap()), ["reader"]);
    assert_eq!(allowed(&Policy::defaults()), ["reader"]);
}

#[test]
fn the_file_is_beside_the_configuration_and_directories_win_over_it_in_the_order_of_names() {
    let etc = Etc::new("");
    etc.write("policy.yaml", &says("x"));
    assert_eq!(allowed(&etc.load().unwrap()), ["x"]);
    etc.write("policy.d/20-later.yaml", &says("z"));
    etc.write("policy.d/10-sooner.json", &format!("{{{}}}", says("y").trim()));
    etc.write("policy.d/.hidden.yaml", &says("x"));
    etc.write("policy.d/deeper/99.yaml", &says("x"));
    assert_eq!(allowed(&etc.load().unwrap()), ["z"]);
}

#[test]
fn file_directories_and_default_rule_can_be_named() {
    let etc = Etc::new("policy_file = mine.json\npolicy_dirs = a\npolicy_dirs = b\npolicy_default_rule = fallback\n");
    etc.write("policy.yaml", &says("x"));
    etc.write("mine.json", &format!("{{\"{RULE}\": [[\"role:x\"], [\"rule:nowhere\"]], \"fallback\": \"role:y\"}}"));
    assert_eq!(allowed(&etc.load().unwrap()), ["x", "y"]);
    etc.write("a/1.yaml", &says("y"));
    etc.write("b/0.yaml", &says("z"));
    assert_eq!(allowed(&etc.load().unwrap()), ["z"]);
}

#[test]
fn a_file_that_cannot_be_used_ends_the_start() {
    let etc = Etc::new("");
    let path = etc.write("policy.yaml", &format!("# ours\n\"{RULE}\": \"role:x or\"\n"));
    let message = etc.load().unwrap_err().to_string();
    assert_eq!(message, format!("{}:2: {RULE}: a check is missing at its end", path.display()));
}

#[test]
fn a_changed_a_new_and_a_removed_file_count_and_a_broken_one_does_not() {
    let etc = Etc::new("");
    let policy = etc.load().unwrap();
    let refreshed = || {
        policy.refresh();
        allowed(&policy)
    };
    etc.write("policy.yaml", &says("x"));
    assert_eq!(refreshed(), ["x"]);
    etc.write("policy.d/a.yaml", &says("y"));
    assert_eq!(refreshed(), ["y"]);
    etc.write("policy.d/a.yaml", "a: [\n");
    assert_eq!(refreshed(), ["y"]);
    etc.write("policy.d/a.yaml", &says("z or role:x"));
    assert_eq!(refreshed(), ["x", "z"]);
    etc.remove("policy.d/a.yaml");
    assert_eq!(refreshed(), ["x"]);
    etc.remove("policy.yaml");
    assert_eq!(refreshed(), ["reader"]);
}

#[test]
fn a_file_that_only_its_time_tells_apart_is_read_again() {
    let etc = Etc::new("");
    let path = etc.write("policy.yaml", &says("x"));
    let policy = etc.load().unwrap();
    std::fs::write(&path, says("y")).unwrap();
    let later = SystemTime::now() + Duration::from_secs(60);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    policy.refresh();
    assert_eq!(allowed(&policy), ["y"]);
}

#[tokio::test]
async fn a_watched_file_counts_within_a_second_or_so() {
    let etc = Etc::new("");
    let policy = Arc::new(etc.load().unwrap());
    let supervisor = Supervisor::new();
    policy.watch(&supervisor);
    etc.write("policy.yaml", &says("x"));
    let is_read = async {
        while allowed(&policy) != ["x"] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_read).await.unwrap();
    assert!(supervisor.shutdown(Duration::from_secs(5)).await);
}
