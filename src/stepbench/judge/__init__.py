"""Pure verdicts and estimates from records: nothing here measures, prints or imports TensorFlow."""
