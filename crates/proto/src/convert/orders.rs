//! Orders by hand. What holds travels as canonical JSON, what is asked for as typed messages.

use driftless_model::{canonical, hash::ObjectHash, name::ComponentName, orders::Orders};

use super::{Error, hash, to_hash};
use crate::v1::{self, order_clusters_request::Order as Wire};

/// What is asked for by hand, before the server's clock made times of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Apply, repair and delete nothing for so many seconds.
    Pause {
        /// Of this component; `None`: of all.
        component: Option<ComponentName>,
        /// For how long.
        seconds: u32,
        /// Why.
        reason: String,
    },
    /// Go on before the pause ends.
    Resume {
        /// With this component; `None`: with all of them.
        component: Option<ComponentName>,
    },
    /// Look at everything anew, and try at once what failed.
    Reconcile,
    /// Delete these objects of a component, however many they are.
    Consent {
        /// The component.
        component: ComponentName,
        /// Names the objects, see [`driftless_model::orders::deletions`].
        deletions: ObjectHash,
    },
}

/// Reads orders that hold.
///
/// # Errors
/// When they make no sense.
pub fn orders(field: &'static str, text: &str) -> Result<Orders, Error> {
    if text.is_empty() {
        return Ok(Orders::default());
    }
    serde_json::from_str(text).map_err(|error| Error::new(field, error))
}

/// Writes orders that hold.
pub fn from_orders(orders: &Orders) -> String {
    if orders.is_empty() {
        return String::new();
    }
    String::from_utf8_lossy(&canonical::document(orders)).into_owned()
}

/// Writes what is asked for.
pub fn from_asked(asked: &Asked) -> Wire {
    let name = |component: &Option<ComponentName>| component.as_ref().map(ToString::to_string).unwrap_or_default();
    match asked {
        Asked::Pause {
            component,
            seconds,
            reason,
        } => Wire::Pause(v1::Pause {
            component: name(component),
            seconds: *seconds,
            reason: reason.clone(),
        }),
        Asked::Resume { component } => Wire::Resume(v1::Resume {
            component: name(component),
        }),
        Asked::Reconcile => Wire::Reconcile(v1::Reconcile {}),
        Asked::Consent { component, deletions } => Wire::Consent(v1::Consent {
            component: component.to_string(),
            deletions: to_hash(deletions),
        }),
    }
}

/// Reads what is asked for.
///
/// # Errors
/// When a name or a hash breaks its rule, or nothing is asked for that is known.
pub fn asked(order: Option<Wire>) -> Result<Asked, Error> {
    let name = |field, text: &str| text.parse().map_err(|error| Error::new(field, error));
    let perhaps = |field, text: &str| {
        if text.is_empty() {
            Ok(None)
        } else {
            name(field, text).map(Some)
        }
    };
    match order {
        Some(Wire::Pause(pause)) => Ok(Asked::Pause {
            component: perhaps("pause.component", &pause.component)?,
            seconds: pause.seconds,
            reason: pause.reason,
        }),
        Some(Wire::Resume(resume)) => Ok(Asked::Resume {
            component: perhaps("resume.component", &resume.component)?,
        }),
        Some(Wire::Reconcile(v1::Reconcile {})) => Ok(Asked::Reconcile),
        Some(Wire::Consent(consent)) => Ok(Asked::Consent {
            component: name("consent.component", &consent.component)?,
            deletions: hash("consent.deletions", &consent.deletions)?,
        }),
        None => Err(Error::new(
            "order",
            "say what is asked for: pause, resume, reconcile or consent",
        )),
    }
}

#[cfg(test)]
mod tests {
    use driftless_model::orders::Order;

    use super::*;

    #[test]
    fn whatever_is_asked_for_survives_the_wire() {
        let shop: ComponentName = "shop".parse().unwrap();
        let all = [
            Asked::Pause {
                component: Some(shop.clone()),
                seconds: 7200,
                reason: "a migration".to_owned(),
            },
            Asked::Resume { component: None },
            Asked::Reconcile,
            Asked::Consent {
                component: shop,
                deletions: ObjectHash::of(b"a"),
            },
        ];
        for one in all {
            assert_eq!(asked(Some(from_asked(&one))), Ok(one));
        }
        assert_eq!(asked(None).unwrap_err().field, "order");
    }

    #[test]
    fn orders_that_hold_survive_the_wire() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let orders_now = Order::Reconcile.apply(&Orders::default(), "ann", now);
        assert_eq!(orders("x", &from_orders(&orders_now)), Ok(orders_now));
        assert_eq!(
            (from_orders(&Orders::default()), orders("x", "")),
            (String::new(), Ok(Orders::default()))
        );
        assert!(orders("x", "{").is_err());
    }
}
