//! Users, keys and admin tokens come into being.

use entity::{admin_tokens, keys, users};
use sea_orm::{EntityTrait, PaginatorTrait};
use tollgate::directory::{
    AdminRole, NewKey, NewUser, ProvisionError, SecretHash, create_admin_token, create_first_admin_token, create_key,
    create_user,
};

use crate::database::{TestDatabase, on_both};

on_both!(
    a_secret_is_stored_as_its_hash_and_prefix_only,
    a_name_that_is_taken_is_said_to_be,
    a_key_needs_a_user,
    the_first_start_makes_one_admin_token_however_many_nodes_start,
);

async fn a_secret_is_stored_as_its_hash_and_prefix_only(database: TestDatabase) {
    let db = database.open().await;
    let user = create_user(&db, NewUser::named("ada"), 5).await.unwrap();
    let new_key = NewKey { allowed_models: Some(vec!["claude-*".to_owned()]), ..NewKey::named("laptop") };
    let (key, secret) = create_key(&db, user.id, new_key, 6).await.unwrap();
    let stored = keys::Entity::find().one(&db).await.unwrap().unwrap();
    assert_eq!(stored, key);
    assert_eq!(stored.secret_hash, SecretHash::of(secret.expose()).to_string());
    assert_eq!(stored.prefix, secret.expose()[..9]);
    assert_eq!(stored.allowed_models.as_deref(), Some(r#"["claude-*"]"#));
    assert!(!format!("{stored:?}").contains(&secret.expose()[9..]));
    assert_eq!((user.created_at, key.created_at, key.version), (5, 6, 1));
}

async fn a_name_that_is_taken_is_said_to_be(database: TestDatabase) {
    let db = database.open().await;
    create_user(&db, NewUser::named("ada"), 0).await.unwrap();
    let error = create_user(&db, NewUser::named("ada"), 0).await.unwrap_err();
    assert!(matches!(&error, ProvisionError::NameTaken(name) if name == "ada"), "{error}");
    create_admin_token(&db, "ops", AdminRole::Viewer, 0).await.unwrap();
    let error = create_admin_token(&db, "ops", AdminRole::Admin, 0).await.unwrap_err();
    assert!(matches!(&error, ProvisionError::NameTaken(name) if name == "ops"), "{error}");
    assert_eq!(users::Entity::find().count(&db).await.unwrap(), 1);
}

async fn a_key_needs_a_user(database: TestDatabase) {
    let db = database.open().await;
    let error = create_key(&db, 12_345, NewKey::named("k"), 0).await.unwrap_err();
    assert!(matches!(error, ProvisionError::NoSuchUser(12_345)), "{error}");
}

async fn the_first_start_makes_one_admin_token_however_many_nodes_start(database: TestDatabase) {
    let db = database.open().await;
    let nodes: Vec<_> = (0..8)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { create_first_admin_token(&db, 0).await.unwrap().is_some() })
        })
        .collect();
    let mut made = 0;
    for node in nodes {
        made += usize::from(node.await.unwrap());
    }
    assert_eq!(made, 1);
    let token = admin_tokens::Entity::find().one(&db).await.unwrap().unwrap();
    assert_eq!(token.role, "admin");
    assert!(create_first_admin_token(&db, 0).await.unwrap().is_none());
}
