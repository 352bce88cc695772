//! `GET /os-keypairs/{id}`

use serde_json::json;

use super::authorized_user;
use crate::call::{Answer, Call, ok};
use crate::compute::keypairs;
use crate::views::keypairs::Detail;

pub(crate) async fn show(call: Call) -> Answer {
    let user_id = authorized_user(&call)?;
    let keypair = keypairs::get(&call.state, user_id, call.param("id")).await?;
    ok(&json!({"keypair": Detail::new(&keypair, call.version)}))
}
