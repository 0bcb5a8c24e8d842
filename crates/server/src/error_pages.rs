//! The pages of `docs/errors/`, carried in the binary.

macro_rules! pages {
    ($($code:literal)*) => {
        /// The page on an error code.
        pub(crate) fn page(code: &str) -> Option<&'static str> {
            match code {
                $($code => Some(include_str!(concat!("../../../docs/errors/", $code, ".md"))),)*
                _ => None,
            }
        }
    };
}

pages! {
    "invalid_request"
    "over_limit"
    "unauthorized"
    "host_not_allowed"
    "origin_not_allowed"
    "not_found"
    "unknown_run"
    "unknown_definition"
    "unknown_task"
    "unknown_key"
    "unknown_schedule"
    "invalid_callback"
    "method_not_allowed"
    "request_timeout"
    "wrong_state"
    "run_closed"
    "run_id_taken"
    "key_rejected"
    "key_in_flight"
    "too_many_generations"
    "too_many_signals"
    "definition_in_use"
    "schedule_exists"
    "too_many_schedules"
    "conflict"
    "lease_lost"
    "key_purged"
    "body_too_large"
    "unsupported_media_type"
    "key_mismatch"
    "invalid_params"
    "invalid_definition"
    "invalid_schedule"
    "upgrade_required"
    "internal"
    "busy"
    "unavailable"
    "stopping"
    "too_many_connections"
}
