//! Fields of objects by their paths, for those who look at thousands of objects.

use serde_json::Value;

/// The field at a path of plain names such as `/metadata/labels`, if every step of it is a map with that name.
/// [`Value::pointer`] looks for escapes, which makes two texts of each step: more than all the rest of looking.
#[must_use]
pub fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut steps = path.split('/');
    // What is before the first slash.
    steps.next();
    steps.try_fold(object, |value, step| value.as_object()?.get(step))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_found_as_by_a_pointer() {
        let object = json!({"metadata": {"name": "web", "labels": {}}, "items": [1]});
        for path in [
            "",
            "/metadata",
            "/metadata/name",
            "/metadata/labels/app",
            "/metadata/name/x",
            "/none",
        ] {
            assert_eq!(at(&object, path), object.pointer(path), "{path}");
        }
        assert_eq!(at(&object, "/items/0"), None, "no name of a field");
    }
}
