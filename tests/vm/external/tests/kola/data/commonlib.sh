common() { echo "from commonlib"; }
