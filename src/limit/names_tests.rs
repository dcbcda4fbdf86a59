use super::*;
use crate::limit::test_data::Data;

#[test]
fn scopes_have_the_names_of_answers() {
    let snapshot = Data::new().snapshot();
    assert_eq!(snapshot.scope_name(Scope::Mainline), "mainline");
    assert_eq!(snapshot.scope_name(Scope::ModelGroup(7)), "group-7");
    assert_eq!(snapshot.scope_name(Scope::ModelGroup(8)), "a model group that was deleted");
}

#[test]
fn sources_have_the_names_of_answers() {
    let sources = [Source::User(1), Source::UserGroup(2), Source::Key(3), Source::Provider(4)];
    let named = sources.map(|source| (source.kind(), source.id()));
    assert_eq!(named, [("user", 1), ("user_group", 2), ("key", 3), ("provider", 4)]);
}
