//! `riverrun dev`: what changes is served.

use serde_json::json;

use crate::support::{House, free_port, post, until};

const FLOW: &str = "version: v1\ntype: flow\nsteps:\n  - {type: task, name: Hi, resourceArn: shop/hi}\n";

#[test]
fn dev_serves_what_changes() {
    let house = House::new();
    house.write("app/hello.yaml", FLOW);
    house.write("app/functions/shop/hi.py", "def handler(event, context):\n    return {'hi': 1}\n");
    let listen = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{listen}");
    let mut dev = house.spawn(&["dev", "app", "--listen", &listen]);
    let mut answer = |name: &str| {
        dev.expect_running();
        std::net::TcpStream::connect(&listen).ok()?;
        let body = json!({"definition": name, "input": {}, "wait": "10s"}).to_string();
        post(&url, "/v1/runs", &body).get("output").cloned()
    };
    until("the flow is served", || answer("hello").filter(|output| *output == json!({"hi": 1})));
    house.write("app/functions/shop/hi.py", "def handler(event, context):\n    return {'hi': 22}\n");
    until("the function is reloaded", || answer("hello").filter(|output| *output == json!({"hi": 22})));
    house.write("app/second.yaml", FLOW);
    until("a new flow is deployed", || answer("second").filter(|output| *output == json!({"hi": 22})));
    dev.signal("TERM");
    dev.wait().expect(0);
}
