//! What the API server said was not allowed, as a right that somebody can grant.
//!
//! Pure: the words of a 403 are the only place where it says who may not do what.

/// The ServiceAccounts' part of user names.
const ACCOUNT: &str = "system:serviceaccount:";
/// What the shipped manifests call the agent's own account; they let it act as accounts of the other name.
const AGENT: &str = "driftless-agent";
const DEPLOYER: &str = "driftless-deployer";
const LABEL: &str = "driftless.dev/aggregate-to-agent: \"true\"";

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
    let account = user.strip_prefix(ACCOUNT).and_then(|account| account.split_once(':'));
    let who = match account {
        Some((namespace, name)) => format!("ServiceAccount {namespace}/{name}"),
        None => format!("user {user}"),
    };
    let is_agent = account.is_some_and(|(_, name)| name == AGENT);
    let how = match verb {
        "impersonate" if is_agent => format!(", or name an account called {DEPLOYER}, as which it may act"),
        "get" | "list" | "watch" if is_agent => format!(", by a ClusterRole with the label {LABEL}"),
        _ if is_agent => format!(
            ", by a ClusterRole with the label {LABEL}, or say `serviceAccount: NAMESPACE/{DEPLOYER}` of the component"
        ),
        _ => String::new(),
    };
    // One at a time would be refused after the other.
    let verbs = match verb {
        "create" | "patch" | "delete" => "create, patch and delete",
        "get" | "list" | "watch" => "get, list and watch",
        verb => verb,
    };
    Some(format!("grant {who} {verbs} on {resource}{group}{place}{how}; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_names_account_right_and_place() {
        let table = [
            (
                r#"deployments.apps "web" is forbidden: User "system:serviceaccount:shop:deployer" cannot patch resource "deployments" in API group "apps" in the namespace "shop""#,
                "grant ServiceAccount shop/deployer create, patch and delete on deployments.apps in namespace shop; ",
            ),
            (
                r#"namespaces "x" is forbidden: User "system:serviceaccount:shop:deployer" cannot patch resource "namespaces" in API group "" at the cluster scope"#,
                "grant ServiceAccount shop/deployer create, patch and delete on namespaces in the whole cluster; ",
            ),
            (
                r#"serviceaccounts "deployer" is forbidden: User "system:serviceaccount:driftless-system:driftless-agent" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "shop""#,
                "grant ServiceAccount driftless-system/driftless-agent impersonate on serviceaccounts in namespace shop, or name an account called driftless-deployer, as which it may act; ",
            ),
            (
                r#"secrets is forbidden: User "system:serviceaccount:driftless-system:driftless-agent" cannot list resource "secrets" in API group "" at the cluster scope"#,
                "grant ServiceAccount driftless-system/driftless-agent get, list and watch on secrets in the whole cluster, by a ClusterRole with the label driftless.dev/aggregate-to-agent: \"true\"; ",
            ),
            (
                r#"x is forbidden: User "jane" cannot create resource "pods/exec" in API group "" in the namespace "a": no way"#,
                "grant user jane create, patch and delete on pods/exec in namespace a; ",
            ),
        ];
        for (message, advised) in table {
            assert_eq!(advice(message).as_deref(), Some(advised));
        }
        assert_eq!(advice("exceeded quota: compute-resources"), None);
    }
}
