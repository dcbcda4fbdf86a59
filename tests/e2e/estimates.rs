//! What `worst_case` sets aside is the most that a request can cost; when it was not, somebody is told.

use serde_json::json;

use crate::support::gateway::{MODEL, Setup, price};
use crate::support::{Answer, Api, Provider, Tokens};

/// The most output tokens of the model, and what every request here says or leaves to the model.
const OUTPUT: i64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_bills_all_it_may_bills_no_more_than_was_set_aside_and_one_that_bills_more_is_counted() {
    let provider = Provider::start().await;
    let dialects = Api::ALL.map(Api::dialect);
    let setup = Setup::new([provider.entry("upstream", &dialects)]).set("budgets.reservation", "worst_case");
    let gateway = setup.start().await;
    let mut price = price();
    price["maxOutputTokens"] = json!(OUTPUT);
    gateway.admin().put(&format!("/prices/{MODEL}"), &price).await;
    let bills = async |api: Api, stream: bool, output: i64| {
        let input = i64::try_from(api.request(MODEL, stream).to_string().len()).unwrap();
        let tokens = Tokens { input, output: if api == Api::Embeddings { 0 } else { output }, ..Tokens::default() };
        provider.then(if stream {
            Answer::sse(api.events(&tokens))
        } else {
            Answer::bytes(200, "application/json", api.whole(&tokens))
        });
        let reply = gateway.ask(api, stream).await;
        assert_eq!(reply.head.status, 200, "{api:?}, stream {stream}");
        // What was compared is in the ledger.
        assert_eq!(Tokens::of_row(&gateway.admin().row_of(reply.head.request_id()).await), tokens, "{api:?}");
    };
    for (api, stream) in Api::every_way() {
        bills(api, stream, OUTPUT).await;
        gateway.metric_is("estimates_exceeded_total", 0.0).await;
    }
    let mut exceeded = 0.0;
    for (api, stream) in Api::every_way().filter(|(api, _)| *api != Api::Embeddings) {
        bills(api, stream, 2 * OUTPUT).await;
        exceeded += 1.0;
        gateway.metric_is("estimates_exceeded_total", exceeded).await;
    }
    assert!(gateway.log().contains("a request cost more than worst_case took for the most that it can"));
}
