//! The JSON Schemas that clients read to learn the attributes.

use axum::Json;
use serde_json::{Value, json};

use super::attributes::{CONTAINER_FORMATS, DISK_FORMATS, MAX_TEXT, VISIBILITIES};

const UUID: &str = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$";

pub(super) async fn image() -> Json<Value> {
    Json(image_schema())
}

pub(super) async fn images() -> Json<Value> {
    Json(collection("images", "image", image_schema()))
}

pub(super) async fn member() -> Json<Value> {
    Json(member_schema())
}

pub(super) async fn members() -> Json<Value> {
    Json(collection("members", "member", member_schema()))
}

fn image_schema() -> Value {
    let with_null = |values: &[&str]| -> Vec<Value> {
        std::iter::once(Value::Null).chain(values.iter().map(|value| json!(value))).collect()
    };
    json!({
        "name": "image",
        "properties": {
            "id": {"type": "string", "pattern": UUID, "description": "An identifier for the image"},
            "name": {"type": ["null", "string"], "maxLength": MAX_TEXT, "description": "Descriptive name for the image"},
            "status": {
                "type": "string", "readOnly": true, "enum": ["queued", "saving", "active", "deactivated"],
                "description": "Status of the image",
            },
            "visibility": {"type": "string", "enum": VISIBILITIES, "description": "Scope of image accessibility"},
            "protected": {"type": "boolean", "description": "If true, image will not be deletable."},
            "os_hidden": {"type": "boolean", "description": "If true, image will not appear in default image list response."},
            "checksum": {"type": ["null", "string"], "readOnly": true, "maxLength": 32, "description": "md5 hash of image contents."},
            "os_hash_algo": {"type": ["null", "string"], "readOnly": true, "maxLength": 64, "description": "Algorithm to calculate the os_hash_value"},
            "os_hash_value": {"type": ["null", "string"], "readOnly": true, "maxLength": 128, "description": "Hexdigest of the image contents"},
            "owner": {"type": ["null", "string"], "maxLength": MAX_TEXT, "description": "Owner of the image"},
            "size": {"type": ["null", "integer"], "readOnly": true, "description": "Size of image file in bytes"},
            "virtual_size": {"type": ["null", "integer"], "readOnly": true, "description": "Virtual size of image in bytes"},
            "container_format": {"type": ["null", "string"], "enum": with_null(&CONTAINER_FORMATS), "description": "Format of the container"},
            "disk_format": {"type": ["null", "string"], "enum": with_null(&DISK_FORMATS), "description": "Format of the disk"},
            "created_at": {"type": "string", "readOnly": true, "description": "Date and time of image registration"},
            "updated_at": {"type": "string", "readOnly": true, "description": "Date and time of the last image modification"},
            "min_disk": {"type": "integer", "description": "Amount of disk space (in GB) required to boot image."},
            "min_ram": {"type": "integer", "description": "Amount of ram (in MB) required to boot image."},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": MAX_TEXT}, "description": "List of strings related to the image"},
            "self": {"type": "string", "readOnly": true, "description": "An image self url"},
            "file": {"type": "string", "readOnly": true, "description": "An image file url"},
            "schema": {"type": "string", "readOnly": true, "description": "An image schema url"},
        },
        "additionalProperties": {"type": "string"},
        "links": [
            {"href": "{self}", "rel": "self"},
            {"href": "{file}", "rel": "enclosure"},
            {"href": "{schema}", "rel": "describedby"},
        ],
    })
}

fn member_schema() -> Value {
    json!({
        "name": "member",
        "properties": {
            "image_id": {"type": "string", "pattern": UUID, "description": "An identifier for the image"},
            "member_id": {"type": "string", "description": "An identifier for the image member (tenantId)"},
            "status": {"type": "string", "enum": ["pending", "accepted", "rejected"], "description": "The status of this image member"},
            "created_at": {"type": "string", "description": "Date and time of image member creation"},
            "updated_at": {"type": "string", "description": "Date and time of last modification of image member"},
            "schema": {"type": "string", "readOnly": true},
        },
    })
}

fn collection(name: &str, item: &str, schema: Value) -> Value {
    json!({
        "name": name,
        "properties": {
            name: {"type": "array", "items": schema},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"href": "{first}", "rel": "first"},
            {"href": "{next}", "rel": "next"},
            {"href": "{schema}", "rel": "describedby"},
        ],
        "description": format!("a list of {item} resources"),
    })
}
