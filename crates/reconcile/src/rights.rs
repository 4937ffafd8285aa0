//! What the API server said was not allowed, as a right that somebody can grant.
//!
//! Pure: the words of a 403 are the only place where it says who may not do what.

/// The ServiceAccounts' part of user names.
const ACCOUNT: &str = "system:serviceaccount:";

/// `User "x" cannot patch resource "deployments" in API group "apps" in the namespace "shop"` as what to do about it.
pub(crate) fn advice(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("User \"")?;
    let (user, rest) = rest.split_once("\" cannot ")?;
    let (verb, rest) = rest.split_once(" resource \"")?;
    let (resource, rest) = rest.split_once('"')?;
    let quoted = |before: &str| Some(rest.split_once(before)?.1.split_once('"')?.0).filter(|text| !text.is_empty());
    let group = quoted("in API group \"").map_or_else(String::new, |group| format!(".{group}"));
    let place = quoted("in the namespace \"").map_or_else(
        || " in the whole cluster".to_owned(),
        |namespace| format!(" in namespace {namespace}"),
    );
    let who = match user.strip_prefix(ACCOUNT).and_then(|account| account.split_once(':')) {
        Some((namespace, name)) => format!("ServiceAccount {namespace}/{name}"),
        None => format!("user {user}"),
    };
    Some(format!("grant {who} {verb} on {resource}{group}{place}; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_names_account_right_and_place() {
        let table = [
            (
                r#"deployments.apps "web" is forbidden: User "system:serviceaccount:shop:deployer" cannot patch resource "deployments" in API group "apps" in the namespace "shop""#,
                "grant ServiceAccount shop/deployer patch on deployments.apps in namespace shop; ",
            ),
            (
                r#"namespaces "x" is forbidden: User "system:serviceaccount:shop:deployer" cannot patch resource "namespaces" in API group "" at the cluster scope"#,
                "grant ServiceAccount shop/deployer patch on namespaces in the whole cluster; ",
            ),
            (
                r#"serviceaccounts "deployer" is forbidden: User "system:serviceaccount:driftless-system:driftless-agent" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "shop""#,
                "grant ServiceAccount driftless-system/driftless-agent impersonate on serviceaccounts in namespace shop; ",
            ),
            (
                r#"x is forbidden: User "jane" cannot create resource "pods/exec" in API group "" in the namespace "a": no way"#,
                "grant user jane create on pods/exec in namespace a; ",
            ),
        ];
        for (message, advised) in table {
            assert_eq!(advice(message).as_deref(), Some(advised));
        }
        assert_eq!(advice("exceeded quota: compute-resources"), None);
    }
}
