"""Reports: terminal, HTML, Allure, JUnit, CI summary."""
