//! `/os-instance_usage_audit_log`

use kilonova_db::task_log;
use kilonova_objects::TaskLog;
use serde_json::json;

use super::cloud::{ADMIN, Cloud, HOST, MEMBER};
use super::hosts::service;

fn audit(host: &str, begin: &str, end: &str) -> TaskLog {
    TaskLog {
        task_name: TaskLog::INSTANCE_USAGE_AUDIT.to_owned(),
        host: host.to_owned(),
        period_beginning: begin.parse().unwrap(),
        period_ending: end.parse().unwrap(),
        task_items: 3,
        message: "begun".to_owned(),
        ..TaskLog::default()
    }
}

#[tokio::test]
async fn a_period_shows_which_hosts_told_of_their_servers() {
    let cloud = Cloud::new().await;
    service(&cloud, "compute2", "nova-compute", 0).await;
    service(&cloud, "compute3", "nova-compute", 0).await;
    let (begin, end) = ("2012-06-01T00:00:00Z", "2012-07-01T00:00:00Z");
    let ended = task_log::begin(&cloud.db, &audit(HOST, begin, end)).await.unwrap();
    let ended = TaskLog { errors: 1, message: "done".to_owned(), ..ended };
    task_log::end(&cloud.db, &ended).await.unwrap();
    task_log::begin(&cloud.db, &audit("compute2", begin, end)).await.unwrap();
    // Of another period.
    task_log::begin(&cloud.db, &audit("compute3", "2012-05-01T00:00:00Z", begin)).await.unwrap();
    for before in ["2012-07-05%2010:00:00", "2012-07-05%2010:00:00.000001"] {
        let reply = cloud.get(ADMIN, "2.1", &format!("/os-instance_usage_audit_log/{before}")).await.expect(200);
        assert_eq!(
            reply.body,
            json!({"instance_usage_audit_log": {
                "period_beginning": "2012-06-01 00:00:00",
                "period_ending": "2012-07-01 00:00:00",
                "num_hosts": 3,
                "num_hosts_done": 1,
                "num_hosts_running": 1,
                "num_hosts_not_run": 1,
                "hosts_not_run": ["compute3"],
                "total_instances": 6,
                "total_errors": 1,
                "overall_status": "1 of 3 hosts done. 1 errors.",
                "log": {
                    HOST: {"state": "DONE", "instances": 3, "errors": 1, "message": "done"},
                    "compute2": {"state": "RUNNING", "instances": 3, "errors": 0, "message": "begun"},
                },
            }})
        );
    }
}

#[tokio::test]
async fn the_list_is_about_the_last_period_that_is_over() {
    let cloud = Cloud::with_config("[DEFAULT]\ninstance_usage_audit_period = hour\n").await;
    let log = cloud.get(ADMIN, "2.1", "/os-instance_usage_audit_log").await.expect(200);
    let log = &log.body["instance_usage_audit_logs"];
    assert_eq!(
        (&log["overall_status"], &log["hosts_not_run"]),
        (&json!("0 of 1 hosts done. 0 errors."), &json!([HOST]))
    );
    let instant = |name: &str| {
        chrono::NaiveDateTime::parse_from_str(log[name].as_str().unwrap(), "%Y-%m-%d %H:%M:%S").unwrap().and_utc()
    };
    let (begin, end) = (instant("period_beginning"), instant("period_ending"));
    assert_eq!((end - begin).num_seconds(), 3600);
    let age = kilonova_core::time::utcnow() - end;
    assert!((0..3600 + 60).contains(&age.num_seconds()), "{age}");

    let run = audit(HOST, &begin.to_rfc3339(), &end.to_rfc3339());
    task_log::end(&cloud.db, &task_log::begin(&cloud.db, &run).await.unwrap()).await.unwrap();
    let path = format!("/os-instance_usage_audit_log/{}", end.format("%Y-%m-%d%%20%H:%M:%S.1"));
    let log = cloud.get(ADMIN, "2.1", &path).await.expect(200);
    assert_eq!(log.body["instance_usage_audit_log"]["overall_status"], "ALL hosts done. 0 errors.");
}

#[tokio::test]
async fn logs_are_for_admins_and_instants_have_a_form() {
    let cloud = Cloud::new().await;
    cloud.get(MEMBER, "2.1", "/os-instance_usage_audit_log").await.expect(403);
    cloud.get(MEMBER, "2.1", "/os-instance_usage_audit_log/x").await.expect(403);
    for id in ["x", "2012-07-05", "2012-07-05T10:00:00"] {
        let reply = cloud.get(ADMIN, "2.1", &format!("/os-instance_usage_audit_log/{id}")).await;
        reply.expect_fault(400, "badRequest", &format!("Invalid timestamp for date {id}"));
    }
    cloud.get(ADMIN, "2.101", "/os-instance_usage_audit_log?x=1").await.expect(200);
    cloud.get(ADMIN, "2.102", "/os-instance_usage_audit_log?x=1").await.expect(400);
}

#[tokio::test]
async fn a_run_begins_once_and_ends_only_if_it_began() {
    let cloud = Cloud::new().await;
    let run = audit(HOST, "2012-06-01T00:00:00Z", "2012-07-01T00:00:00Z");
    let missing = task_log::end(&cloud.db, &run).await.unwrap_err();
    assert!(matches!(missing, kilonova_db::DbError::NotFound { .. }), "{missing}");
    task_log::begin(&cloud.db, &run).await.unwrap();
    let again = task_log::begin(&cloud.db, &run).await.unwrap_err();
    assert!(matches!(again, kilonova_db::DbError::Exists { .. }), "{again}");
}
