//! An order: reserve, charge, wait, be told the address, ship. And its worker, and its client, in one process.
//!
//! ```sh
//! riverrun server &
//! cargo run -p riverrun-worker --example order
//! ```
//!
//! Kill it at any point with `kill -9` and start it again with the same order number: it goes on where it was.

#![expect(
    clippy::unused_async,
    clippy::print_stderr,
    reason = "it is an example: its services are made up, and it prints"
)]

use std::time::Duration;

use riverrun_worker::sdk::{CancellationToken, Client, Ctx, Error, Result, Retry, TaskCtx, Worker};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    number: u64,
    item: String,
    cents: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    order: u64,
    charge: String,
    parcel: String,
}

async fn order(ctx: Ctx, order: Order) -> Result<Receipt> {
    ctx.set_status(&"reserving");
    let reservation = ctx.step("reserve", || reserve(&order)).await?;
    let charge =
        ctx.step_with("charge", |step| charge(&order, step.idempotency_key())).retry(Retry::times(3)).await;
    let charge = match charge {
        Ok(charge) => charge,
        Err(error) => {
            ctx.step("release", || release(&reservation)).await?;
            return Err(error);
        }
    };
    ctx.set_status(&"charged");
    ctx.sleep(Duration::from_secs(1)).await?;
    let address: String = ctx.signal("address").timeout(Duration::from_hours(24)).await?;
    let parcel = ctx.call("ship", &(order.number, address)).await?;
    Ok(Receipt { order: order.number, charge, parcel })
}

async fn reserve(order: &Order) -> Result<String> {
    if order.item.is_empty() {
        return Err(Error::terminal("NoSuchItem", "an order needs an item"));
    }
    Ok(format!("reservation of {}", order.item))
}

async fn charge(order: &Order, key: String) -> Result<String> {
    // A real one would send `key` along, so that the payment provider never charges twice.
    Ok(format!("{} cents under key {}", order.cents, &key[..8]))
}

async fn release(reservation: &str) -> Result<()> {
    eprintln!("released: {reservation}");
    Ok(())
}

/// A task: executed by whatever worker has it, perhaps on another machine.
async fn ship(ctx: TaskCtx, (number, address): (u64, String)) -> Result<String> {
    ctx.log(format!("order {number} leaves for {address}")).await;
    Ok(format!("parcel to {address}"))
}

/// Serves orders, and places one.
pub async fn place(number: u64) -> Result<()> {
    let server = std::env::var("RIVERRUN_SERVER").unwrap_or_else(|_| "http://127.0.0.1:7733".to_owned());
    let token = std::env::var("RIVERRUN_TOKEN").ok();
    let worker =
        Worker::builder(&server).token(token.clone()).workflow("order", order).task("ship", ship).build()?;
    let shutdown = CancellationToken::new();
    let working = tokio::spawn(worker.run(shutdown.clone()));

    let client = Client::new(&server)?.token(token);
    let order = Order { number, item: "a boat".to_owned(), cents: 120_000 };
    let run = client.start("order", &order).continue_id(format!("order-{number}")).await?;
    eprintln!("run {}", run.run_id());
    run.signal("address", &"Dublin").await?;
    let receipt: Receipt = run.output().await?;
    eprintln!("{receipt:?}");

    shutdown.cancel();
    Ok(working.await??)
}

#[tokio::main]
async fn main() -> Result<()> {
    place(std::env::args().nth(1).map_or(Ok(1), |number| number.parse())?).await
}
