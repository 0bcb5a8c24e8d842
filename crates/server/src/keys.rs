//! Keys: showing, listing, forgetting.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use riverrun_kernel::KeyId;
use riverrun_store::KeyFilter;
use riverrun_wire::http::{Code, DeleteKeyQuery, KeyQuery, KeyView, Keys};

use crate::app::{Shared, namespace, now};
use crate::extract::Params;
use crate::paging::{key_cursor, page_size, parse_key_cursor};
use crate::problem::Refused;

/// `GET /v1/keys`
pub(crate) async fn read(
    State(app): State<Shared>,
    Params(query): Params<KeyQuery>,
) -> Result<Response, Refused> {
    match query.continue_id.clone() {
        Some(continue_id) => one(&app, query, continue_id).await,
        None => list(&app, query).await,
    }
}

async fn one(app: &Shared, query: KeyQuery, continue_id: String) -> Result<Response, Refused> {
    let definition = query.definition.ok_or_else(|| {
        Refused::invalid("definition is missing: a key belongs to a definition, name it in the query")
    })?;
    let id = key_id(query.namespace, definition, query.version, continue_id);
    // A key expires at its moment, whenever it is swept.
    let found = app.engine.key(id.clone()).await?;
    match found.filter(|key| !key.is_expired(now())) {
        Some(key) => Ok(Answer(KeyView::from(&key)).into_response()),
        None => Err(Refused::new(
            Code::UnknownKey,
            format!("there is no key `{}` of {}", id.continue_id, id.definition),
        )),
    }
}

async fn list(app: &Shared, query: KeyQuery) -> Result<Response, Refused> {
    let limit = page_size(query.limit)?;
    let after = query.cursor.as_deref().map(parse_key_cursor).transpose()?;
    let filter = KeyFilter { namespace: namespace(query.namespace), definition: query.definition };
    let page = app.engine.keys(filter, after, limit).await?;
    let next_cursor = page.last().filter(|_| page.len() == limit).map(|key| key_cursor(&key.id));
    let moment = now();
    let items = page.iter().filter(|key| !key.is_expired(moment)).map(KeyView::from).collect();
    Ok(Answer(Keys { items, next_cursor }).into_response())
}

/// `DELETE /v1/keys`
pub(crate) async fn delete(
    State(app): State<Shared>,
    Params(query): Params<DeleteKeyQuery>,
) -> Result<StatusCode, Refused> {
    let id = key_id(query.namespace, query.definition, query.version, query.continue_id);
    app.engine.delete_key(id, query.cancel).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn key_id(space: Option<String>, definition: String, version: Option<String>, continue_id: String) -> KeyId {
    KeyId {
        namespace: namespace(space).into(),
        definition: definition.into(),
        version: version.unwrap_or_default().into(),
        continue_id: continue_id.into(),
    }
}
